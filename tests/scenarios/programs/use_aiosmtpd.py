"""aiosmtpd under asyncio with a handler, and aiosmtplib: mail with attachments, STARTTLS, a login, refusals.

    use_aiosmtpd.py server
    use_aiosmtpd.py client SERVER
"""

import asyncio
import email
import email.policy
import hashlib
import pathlib
import random
import ssl
import sys
from email.message import EmailMessage

import aiosmtplib
from aiosmtpd.smtp import SMTP, AuthResult

TLS = pathlib.Path(__file__).parents[3] / "tapestries" / "apps" / "tls"


class Handler:
    """Takes mail for example.com, and answers with the SHA-256 of what is attached."""

    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        if not address.endswith("@example.com"):
            return "550 not relaying to that domain"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        digests = [hashlib.sha256(part.get_content()).hexdigest()[:16] for part in message.iter_attachments()]
        return f"250 {len(envelope.rcpt_tos)} {' '.join(digests)}"


def authenticate(server, session, envelope, mechanism, data):
    # Not handled: the answer is left to aiosmtpd.
    return AuthResult(success=(data.login, data.password) == (b"alice", b"secret"), handled=False)


async def serve():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(TLS / "server.pem")
    loop = asyncio.get_running_loop()
    handler = Handler()
    relay = await loop.create_server(lambda: SMTP(handler, hostname="server", enable_SMTPUTF8=True), "0.0.0.0", 25)
    submission = await loop.create_server(
        lambda: SMTP(
            handler, hostname="server", tls_context=context, require_starttls=True, auth_required=True,
            authenticator=authenticate,
        ),
        "0.0.0.0", 587,
    )  # fmt: skip
    await asyncio.gather(relay.serve_forever(), submission.serve_forever())


def letter(to, *attachments):
    message = EmailMessage()
    message["From"] = "alice@example.org"
    message["To"] = to
    message["Subject"] = "Grüße"
    message.set_content(".a line that begins with a dot\nand one that does not\n")
    for data in attachments:
        message.add_attachment(data, maintype="application", subtype="octet-stream", filename="data")
    return message


async def ask(server):
    context = ssl.create_default_context(cafile=TLS / "authority.pem")

    async def send(number, **how):
        data = [random.randbytes(100_000 + number), random.randbytes(1000)]
        refused, answer = await aiosmtplib.send(
            letter("bob@example.com, carol@example.com", *data), hostname=server, **how
        )
        assert not refused
        assert answer == f"2 {' '.join(hashlib.sha256(part).hexdigest()[:16] for part in data)}", answer

    submitted = {"port": 587, "start_tls": True, "tls_context": context, "username": "alice", "password": "secret"}
    await asyncio.gather(
        *(send(number, port=25) for number in range(2)), *(send(number, **submitted) for number in range(2))
    )

    async with aiosmtplib.SMTP(hostname=server, port=25) as client:  # several in one session
        for _ in range(3):
            await client.send_message(letter("bob@example.com"))
        try:
            await client.send_message(letter("bob@elsewhere.example"))
        except aiosmtplib.SMTPRecipientsRefused as refused:
            assert refused.recipients[0].code == 550
        else:
            raise AssertionError("the server relays")
    try:
        await aiosmtplib.send(letter("bob@example.com"), hostname=server, **{**submitted, "password": "guess"})
    except aiosmtplib.SMTPAuthenticationError as refused:
        assert refused.code == 535
    else:
        raise AssertionError("a wrong password was taken")
    print("4 letters with 2 attachments each, 3 in one session, 2 refusals")


if __name__ == "__main__":
    asyncio.run(serve() if sys.argv[1] == "server" else ask(sys.argv[2]))
