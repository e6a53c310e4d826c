"""Makes this folder's certificates: an authority, and one by it for the name "server".

They are kept in the repository because a run must repeat exactly: a new key would change the sizes of handshakes. RSA,
because its signatures have one size; ECDSA's differ by a byte or two. They are for virtual hosts only: the private key
is public.
"""

import pathlib

import trustme

HERE = pathlib.Path(__file__).parent


def main() -> None:
    authority = trustme.CA(organization_name="Lunar quickstart", key_type=trustme.KeyType.RSA)
    server = authority.issue_cert("server", key_type=trustme.KeyType.RSA)
    authority.cert_pem.write_to_path(str(HERE / "authority.pem"))
    server.private_key_and_cert_chain_pem.write_to_path(str(HERE / "server.pem"))


if __name__ == "__main__":
    main()
