"""smtplib, and aiosmtpd's Controller, which runs its loop in a thread: mail, STARTTLS, TLS from the start, a login.

    use_smtplib.py server
    use_smtplib.py client SERVER
"""

import email
import email.policy
import hashlib
import pathlib
import random
import smtplib
import ssl
import sys
import threading
from email.message import EmailMessage

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

TLS = pathlib.Path(__file__).parents[3] / "tapestries" / "apps" / "tls"


class Handler:
    """Takes mail for example.com, and answers with the SHA-256 of what is attached."""

    def __init__(self):
        self.letters = 0
        self.full = threading.Event()

    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        if not address.endswith("@example.com"):
            return "550 not relaying to that domain"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        digests = [hashlib.sha256(part.get_content()).hexdigest()[:16] for part in message.iter_attachments()]
        self.letters += 1
        if self.letters == 8:
            self.full.set()
        return f"250 {len(envelope.rcpt_tos)} {' '.join(digests)}"


def authenticate(server, session, envelope, mechanism, data):
    # Not handled: the answer is left to aiosmtpd.
    return AuthResult(success=(data.login, data.password) == (b"alice", b"secret"), handled=False)


def serve():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(TLS / "server.pem")
    handler = Handler()
    login = {"auth_required": True, "authenticator": authenticate}
    controllers = [
        Controller(handler, hostname="0.0.0.0", port=25),
        Controller(handler, hostname="0.0.0.0", port=587, tls_context=context, require_starttls=True, **login),
        Controller(handler, hostname="0.0.0.0", port=465, ssl_context=context, auth_require_tls=False, **login),
    ]
    for controller in controllers:
        controller.start()
    handler.full.wait()
    for controller in controllers:
        controller.stop()
    print(f"took {handler.letters} letters", flush=True)


def letter(to, *attachments):
    message = EmailMessage()
    message["From"] = "alice@example.org"
    message["To"] = to
    message["Subject"] = "Grüße"
    message.set_content(".a line that begins with a dot\nand one that does not\n")
    for data in attachments:
        message.add_attachment(data, maintype="application", subtype="octet-stream", filename="data")
    return message


def send(session, number):
    data = [random.randbytes(100_000 + number), random.randbytes(1000)]
    answers = []
    original = session.data
    session.data = lambda text: answers.append(original(text)) or answers[-1]
    assert session.send_message(letter("bob@example.com, carol@example.com", *data)) == {}
    session.data = original
    expected = f"2 {' '.join(hashlib.sha256(part).hexdigest()[:16] for part in data)}"
    assert answers == [(250, expected.encode())], answers


def ask(server):
    context = ssl.create_default_context(cafile=TLS / "authority.pem")
    with smtplib.SMTP(server, 25, timeout=30) as session:
        for number in range(2):
            send(session, number)
        try:
            session.send_message(letter("bob@elsewhere.example"))
            raise SystemExit("the server relays")
        except smtplib.SMTPRecipientsRefused as refused:
            assert refused.recipients["bob@elsewhere.example"][0] == 550
        assert session.noop()[0] == 250
    with smtplib.SMTP(server, 587, timeout=30) as session:
        try:
            session.sendmail("alice@example.org", ["bob@example.com"], "in the clear")
            raise SystemExit("mail was taken in the clear")
        except smtplib.SMTPSenderRefused as refused:
            assert refused.smtp_code == 530
        session.starttls(context=context)
        try:
            session.login("alice", "guess")
            raise SystemExit("a wrong password was taken")
        except smtplib.SMTPAuthenticationError as refused:
            assert refused.smtp_code == 535
        session.login("alice", "secret")
        version = session.sock.version()
        for number in range(2):
            send(session, number)
    with smtplib.SMTP_SSL(server, 465, context=context, timeout=30) as session:
        session.login("alice", "secret")
        send(session, 4)
    last = []

    def in_a_thread(number):
        with smtplib.SMTP(server, 25, timeout=30) as session:
            send(session, number)
        last.append(number)

    threads = [threading.Thread(target=in_a_thread, args=(number,)) for number in (5, 6, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(last) == [5, 6, 7]
    print(f"{version}: 8 letters with 2 attachments each, 3 of them at once, 3 refusals")


if __name__ == "__main__":
    serve() if sys.argv[1] == "server" else ask(sys.argv[2])
