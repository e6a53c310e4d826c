"""Flask on werkzeug's threaded server: pages that wait for each other, sessions, streams, TLS; asked by requests.

    use_flask.py server
    use_flask.py client SERVER
"""

import concurrent.futures
import hashlib
import logging
import pathlib
import random
import sys
import threading
import time
import urllib.error
import urllib.request

import flask
import requests
import werkzeug.serving

TLS = pathlib.Path(__file__).parents[3] / "tapestries" / "apps" / "tls"
PORT = 8000
SECURE_PORT = 8443
VISITORS = 6

app = flask.Flask(__name__)
app.secret_key = "not one that anybody may know"
meeting = threading.Barrier(VISITORS, timeout=60)
lock = threading.Lock()
visits = {}


@app.route("/meet/<name>")
def meet(name):
    """Answers when as many are here: one thread could never."""
    flask.g.name = name
    place = meeting.wait()
    assert flask.g.name == name == flask.request.view_args["name"]
    return {"name": name, "place": place}


@app.post("/upload")
def upload():
    file = flask.request.files["file"]
    data = file.read()
    return {"name": file.filename, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


@app.route("/numbers/<int:count>")
def numbers(count):
    def lines():
        for number in range(count):
            yield f"{number}\n"
            if number % 1000 == 0:
                time.sleep(0.001)

    return flask.Response(flask.stream_with_context(lines()), mimetype="text/plain")


@app.route("/visit")
def visit():
    flask.session["times"] = flask.session.get("times", 0) + 1
    name = flask.request.args["name"]
    with lock:
        before = visits.get(name, 0)
        time.sleep(0.001)  # others want the lock meanwhile
        visits[name] = before + 1
    return {"times": flask.session["times"], "all": visits[name]}


@app.route("/wrong")
def wrong():
    flask.abort(418)


def server():
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    secure = werkzeug.serving.make_server(
        "0.0.0.0", SECURE_PORT, app, threaded=True, ssl_context=(str(TLS / "server.pem"), str(TLS / "server.pem"))
    )
    thread = threading.Thread(target=secure.serve_forever, daemon=True)
    thread.start()
    app.run("0.0.0.0", PORT, threaded=True)


def visitor(site, number):
    with requests.Session() as session:
        met = session.get(f"{site}/meet/{number}", timeout=60).json()
        assert met["name"] == str(number)
        times = [session.get(f"{site}/visit", params={"name": "x"}, timeout=60).json()["times"] for _ in range(3)]
        assert times == [1, 2, 3], "the cookie of the session comes back"
        return met["place"]


def client(host):
    site = f"http://{host}:{PORT}"
    with concurrent.futures.ThreadPoolExecutor(VISITORS) as pool:
        places = list(pool.map(lambda number: visitor(site, number), range(VISITORS)))
    assert sorted(places) == list(range(VISITORS))
    last = requests.get(f"{site}/visit", params={"name": "x"}, timeout=60).json()
    assert last["all"] == VISITORS * 3 + 1
    data = random.randbytes(150_000)
    expected = {"name": "photo.jpg", "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    assert requests.post(f"{site}/upload", files={"file": ("photo.jpg", data)}, timeout=60).json() == expected
    secure = f"https://{host}:{SECURE_PORT}"
    authority = str(TLS / "authority.pem")
    answer = requests.post(f"{secure}/upload", files={"file": ("photo.jpg", data)}, timeout=60, verify=authority)
    assert answer.json() == expected
    with requests.get(f"{site}/numbers/5000", stream=True, timeout=60) as streamed:
        lines = [int(line) for line in streamed.iter_lines()]
    assert lines == list(range(5000))
    with urllib.request.urlopen(f"{site}/numbers/100", timeout=60) as page:
        assert len(page.read().split()) == 100
    codes = [requests.get(f"{site}/{path}", timeout=60).status_code for path in ("nothing", "wrong")]
    try:
        urllib.request.urlopen(f"{site}/upload", timeout=60)
    except urllib.error.HTTPError as error:
        codes.append(error.code)
    print(f"{VISITORS} met, visited {last['all']} times, uploaded {len(data)} bytes twice, {len(lines)} lines, {codes}")


if __name__ == "__main__":
    server() if sys.argv[1] == "server" else client(sys.argv[2])
