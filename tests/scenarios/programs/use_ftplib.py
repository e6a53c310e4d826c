"""ftplib, and pyftpdlib: a server of one poller, and one with a thread for each session. Up, down, on, and refused.

    use_ftplib.py server
    use_ftplib.py client SERVER
"""

import ftplib
import hashlib
import io
import logging
import pathlib
import random
import sys
import tempfile
import threading

SIZES = (0, 1, 70_000, 300_000)


def serve():
    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.handlers import FTPHandler
    from pyftpdlib.ioloop import IOLoop
    from pyftpdlib.servers import FTPServer, ThreadedFTPServer

    logging.basicConfig(level=logging.WARNING)

    class Handler(FTPHandler):
        banner = "ready"
        passive_ports = range(2000, 2100)

    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "readme").write_text("line 1\nline 2\n")
        Handler.authorizer = DummyAuthorizer()
        Handler.authorizer.add_user("alice", "secret", folder, perm="elradfmwMT")
        Handler.authorizer.add_anonymous(folder)
        threaded = ThreadedFTPServer(("", 2121), Handler, ioloop=IOLoop())  # two would share one
        threading.Thread(target=threaded.serve_forever, kwargs={"handle_exit": False}, daemon=True).start()
        FTPServer(("", 21), Handler).serve_forever()


def visit(server, port, passive, log):
    generator = random.Random(port)
    data = {f"{port}-{passive}-{size}": generator.randbytes(size) for size in SIZES}
    with ftplib.FTP(timeout=30) as ftp:
        ftp.connect(server, port)
        assert ftp.getwelcome() == "220 ready"
        ftp.login("alice", "secret")
        ftp.set_pasv(passive)
        folder = f"of-{port}-{passive}"
        ftp.mkd(folder)
        ftp.cwd(folder)
        for name, content in data.items():
            ftp.storbinary(f"STOR {name}", io.BytesIO(content))
        assert sorted(ftp.nlst()) == sorted(data)
        assert {name: int(facts["size"]) for name, facts in ftp.mlsd() if facts["type"] == "file"} == {
            name: len(content) for name, content in data.items()
        }
        for name, content in data.items():
            parts = []
            ftp.retrbinary(f"RETR {name}", parts.append)
            assert hashlib.sha256(b"".join(parts)).digest() == hashlib.sha256(content).digest()
            assert ftp.size(name) == len(content)
        last = f"{port}-{passive}-{SIZES[-1]}"
        rest = []
        ftp.retrbinary(f"RETR {last}", rest.append, rest=250_000)  # from there on
        assert b"".join(rest) == data[last][250_000:]
        ftp.storbinary(f"APPE {last}", io.BytesIO(b"and more"))
        assert ftp.size(last) == len(data[last]) + 8
        ftp.rename(last, "renamed")
        ftp.cwd("/")
        lines = []
        ftp.retrlines("RETR readme", lines.append)
        assert lines == ["line 1", "line 2"]
        listing = []
        ftp.dir(listing.append)
        assert any(line.endswith("readme") for line in listing)
        with ftp.transfercmd(f"RETR {folder}/renamed") as half:
            half.recv(1000)
        try:
            ftp.voidresp()
            raise SystemExit("the rest went where nobody reads it")
        except ftplib.error_temp as aborted:
            log.append(str(aborted)[:3])
        ftp.cwd(folder)
        for name in [*list(data)[:-1], "renamed"]:
            ftp.delete(name)
        ftp.cwd("..")
        ftp.rmd(folder)
        ftp.quit()


def ask(server):
    log = []
    for port in (21, 2121):
        for passive in (True, False):
            visit(server, port, passive, log)
    threads = [threading.Thread(target=visit, args=(server, port, port != 21, [])) for port in (21, 2121)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refusals = []
    with ftplib.FTP(server) as ftp:
        ftp.login()
        for function in (lambda: ftp.storbinary("STOR x", io.BytesIO(b"x")), lambda: ftp.size("nothing")):
            try:
                function()
            except ftplib.error_perm as refused:
                refusals.append(str(refused)[:3])
    try:
        ftplib.FTP(server).login("alice", "wrong")
    except ftplib.error_perm as refused:
        refusals.append(str(refused)[:3])
    log, refusals = " ".join(log), " ".join(refusals)
    print(f"6 visits with {len(SIZES)} files of {sum(SIZES)} bytes up and down, aborted {log}, refused {refusals}")


if __name__ == "__main__":
    serve() if sys.argv[1] == "server" else ask(sys.argv[2])
