#!/usr/bin/env python3
"""TLS of a gateway as OpenSSL's client sees it: the OCSP answer that is stapled to a certificate.

    python3 tls.py --target PATH

Needs the openssl command.
"""
import base64
import pathlib
import shutil
import subprocess
import tempfile

from blackbox import Checks, Gateway, wait

check = Checks()
GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: web}
spec:
  selector: {app: test}
  servers:
  - {port: {number: 443, name: secret, protocol: HTTPS}, hosts: [secret.example], tls: {mode: SIMPLE, credentialName: pair}}
  - port: {number: 443, name: file, protocol: HTTPS}
    hosts: [file.example]
    tls: {mode: SIMPLE, serverCertificate: FOLDER/file.crt, privateKey: FOLDER/leaf.key}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec: {hosts: ["*"], gateways: [web], http: [{directResponse: {status: 204}}]}
"""


def openssl(*words, **more):
    return subprocess.run(["openssl", *map(str, words)], capture_output=True, check=True, **more).stdout


class Authority:
    """A certificate for both hosts, and what its authority says of it when it is asked."""

    def __init__(self, folder):
        self.folder = folder
        name = ["-subj", "/CN=authority", "-days", "2"]
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", folder / "ca.key", "-out", folder / "ca.crt", *name)
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", folder / "leaf.key", "-out", folder / "leaf.csr", "-subj", "/CN=a")
        (folder / "names").write_text("subjectAltName = DNS:secret.example, DNS:file.example\n")
        signed = ["-CA", folder / "ca.crt", "-CAkey", folder / "ca.key", "-set_serial", "0x1000", "-days", "2"]
        openssl("x509", "-req", "-in", folder / "leaf.csr", *signed, "-extfile", folder / "names", "-out", folder / "leaf.crt")
        openssl("ocsp", "-issuer", folder / "ca.crt", "-cert", folder / "leaf.crt", "-reqout", folder / "request")
        self.good = self.answer("V\t491231235959Z\t\t1000\tunknown\t/CN=a\n")
        self.revoked = self.answer("R\t491231235959Z\t250101000000Z\t1000\tunknown\t/CN=a\n")

    def answer(self, line):
        (self.folder / "index").write_text(line)
        signer = ["-CA", self.folder / "ca.crt", "-rsigner", self.folder / "ca.crt", "-rkey", self.folder / "ca.key", "-ndays", "1"]
        openssl("ocsp", "-index", self.folder / "index", *signer, "-reqin", self.folder / "request", "-respout", self.folder / "answer")
        return (self.folder / "answer").read_bytes()


class Proxy(Gateway):
    """A gateway that runs, with a certificate in a Secret and one in a file."""

    def __init__(self, target):
        self.pairs = tempfile.TemporaryDirectory()
        self.keys = pathlib.Path(self.pairs.name)
        self.authority = Authority(self.keys)
        shutil.copy(self.keys / "leaf.crt", self.keys / "file.crt")
        files = {"gateway.yaml": GATEWAY.replace("FOLDER", str(self.keys)), "secret.yaml": self.secret(None)}
        super().__init__(target, files, 443, flags=["--labels", "app=test"])

    def end(self):
        super().end()
        self.pairs.cleanup()

    def secret(self, staple):
        """The Secret with this staple, or none."""
        data = {"tls.crt": (self.keys / "leaf.crt").read_bytes(), "tls.key": (self.keys / "leaf.key").read_bytes()}
        if staple is not None:
            data["tls.ocsp-staple"] = staple
        lines = "".join(f"  {key}: {base64.b64encode(value).decode()}\n" for key, value in data.items())
        return f"apiVersion: v1\nkind: Secret\nmetadata: {{name: pair}}\ntype: kubernetes.io/tls\ndata:\n{lines}"

    def status(self, name, version="-tls1_3"):
        """What OpenSSL's client is told of the certificate's state: its status, or nothing."""
        words = ["s_client", "-connect", f"127.0.0.1:{self.ports[443]}", "-servername", name, "-status", version]
        said = openssl(*words, "-CAfile", self.keys / "ca.crt", "-verify_return_error", input=b"").decode()
        if "OCSP response: no response sent" in said:
            return None
        assert "OCSP Response Status: successful" in said, said
        return next(line.split(":")[1].strip() for line in said.splitlines() if "Cert Status:" in line)


def put(path, content):
    new = path.with_name("new")
    new.write_bytes(content)
    new.rename(path)


def rotate(proxy, name, replace):
    """No staple, then a good one, then one that tells of a revocation, then none."""
    for staple, told in [(None, None), (proxy.authority.good, "good"), (proxy.authority.revoked, "revoked"), (None, None)]:
        replace(staple)
        for version in ("-tls1_3", "-tls1_2"):
            wait(lambda: proxy.status(name, version) == told, f"the client is told {told} by {version}")


@check
def a_staple_in_a_secret_reaches_the_client_and_is_renewed(proxy):
    rotate(proxy, "secret.example", lambda staple: put(proxy.folder / "secret.yaml", proxy.secret(staple).encode()))


@check
def a_staple_beside_a_file_reaches_the_client_and_is_renewed(proxy):
    path = proxy.keys / "file.crt.ocsp"
    rotate(proxy, "file.example", lambda staple: path.unlink(missing_ok=True) if staple is None else put(path, staple))


if __name__ == "__main__":
    check.run(__doc__, Proxy)
