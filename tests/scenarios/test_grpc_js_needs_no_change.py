"""gRPC's second implementation, `@grpc/grpc-js`, as the client and as the server: every kind of call through a sidecar.

It is looked for as node does (NODE_PATH; ``npm install @grpc/grpc-js`` puts it into the directory it is run in).
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import grpc
import pytest
from support import configs
from support.grpc_calls import SERVICE, channel, credentials, grpc_service, unary
from support.pki import Pki
from support.ports import free_port
from support.sidecar import running
from support.waiting import eventually, listens


def _is_installed() -> bool:
    if shutil.which("node") is None:
        return False
    look = ["node", "-e", 'require.resolve("@grpc/grpc-js")']
    return subprocess.run(look, capture_output=True, timeout=60).returncode == 0


pytestmark = pytest.mark.skipif(
    not _is_installed(), reason="needs the npm package @grpc/grpc-js, which node cannot find"
)

_METHODS = """
const grpc = require("@grpc/grpc-js"), fs = require("node:fs");
const same = (value) => value;
const kind = (path, requestStream, responseStream) => ({
  path, requestStream, responseStream,
  requestSerialize: same, requestDeserialize: same, responseSerialize: same, responseDeserialize: same,
});
const methods = {
  unary: kind("/demo.Echo/Unary", false, false),
  serverStream: kind("/demo.Echo/ServerStream", false, true),
  clientStream: kind("/demo.Echo/ClientStream", true, false),
  both: kind("/demo.Echo/Both", true, true),
};
"""

_CLIENT = (
    _METHODS
    + """
const [target, ca, cert, key] = process.argv.slice(1);
const Client = grpc.makeGenericClientConstructor(methods, "demo.Echo");
const client = new Client(target, grpc.credentials.createSsl(...[ca, key, cert].map((path) => fs.readFileSync(path))));
const metadata = new grpc.Metadata();
metadata.set("x-key", "value");
metadata.set("x-bytes-bin", Buffer.from([0, 1, 255]));
const told = {};
const all = (stream) => new Promise((resolve, reject) => {
  const parts = [];
  stream.on("data", (part) => parts.push(part.toString()));
  stream.on("end", () => resolve(parts));
  stream.on("error", reject);
});
const one = (call) => new Promise((resolve, reject) => {
  call((error, answer) => error ? reject(error) : resolve(answer));
});
(async () => {
  told.unary = (await one((done) => client.unary(Buffer.from("hello"), metadata, done))).toString();
  told.large = (await one((done) => client.unary(Buffer.alloc(3 << 20), done))).length;
  told.served = (await all(client.serverStream(Buffer.from("100")))).length;
  told.sent = (await one((done) => {
    const call = client.clientStream(done);
    for (let number = 0; number < 100; number++) call.write(Buffer.alloc(1000));
    call.end();
  })).toString();
  const both = client.both();
  both.write(Buffer.from("a")); both.write(Buffer.from("b")); both.end();
  told.both = await all(both);
  try { await one((done) => client.unary(Buffer.from("fail"), done)); }
  catch (error) { told.failed = [error.code, error.details]; }
  const soon = { deadline: Date.now() + 200 };
  try { await one((done) => client.unary(Buffer.from("slow"), new grpc.Metadata(), soon, done)); }
  catch (error) { told.late = error.code; }
  const many = [...Array(200).keys()].map((number) => one((done) => client.unary(Buffer.from(`${number}`), done)));
  told.many = (await Promise.all(many)).map((answer) => answer.toString());
  console.log(JSON.stringify(told));
  client.close();
})();
"""
)

_SERVER = (
    _METHODS
    + """
const server = new grpc.Server();
server.addService(methods, {
  unary: (call, done) => {
    const trailers = new grpc.Metadata();
    trailers.set("x-who", `${call.metadata.get("x-forwarded-client-cert")}`);
    if (call.request.toString() === "fail") done({ code: 5, details: "no such thing" });
    else done(null, call.request, trailers);
  },
  serverStream: (call) => {
    for (let number = 0; number < Number(call.request.toString()); number++) call.write(Buffer.from(`${number}`));
    call.end();
  },
  clientStream: (call, done) => {
    let size = 0;
    call.on("data", (part) => { size += part.length; });
    call.on("end", () => done(null, Buffer.from(`${size}`)));
  },
  both: (call) => {
    call.on("data", (part) => call.write(Buffer.from(part.toString().toUpperCase())));
    call.on("end", () => call.end());
  },
});
server.bindAsync(`127.0.0.1:${process.argv[1]}`, grpc.ServerCredentials.createInsecure(), () => {});
"""
)


def test_as_the_client(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test", common_name="client")
    with grpc_service() as (service, address):
        config = configs.identity(server, pki.trust) + configs.terminate(address, protocol="grpc")
        with running(tmp_path / "sidecar", config) as sidecar:
            arguments = [f"localhost:{sidecar.port()}", str(pki.trust), str(client.cert), str(client.key)]
            finished = subprocess.run(
                ["node", "-e", _CLIENT, *arguments], capture_output=True, text=True, timeout=90, check=False
            )
            assert finished.returncode == 0, finished.stderr
    told = json.loads(finished.stdout)
    assert told == {
        "unary": "hello",
        "large": 3 << 20,
        "served": 100,
        "sent": "100000",
        "both": ["A", "B"],
        "failed": [grpc.StatusCode.NOT_FOUND.value[0], "no such thing: 50 % ü"],
        "late": grpc.StatusCode.DEADLINE_EXCEEDED.value[0],
        "many": [str(number) for number in range(200)],
    }
    assert service.calls == 207


def test_as_the_server(pki: Pki, tmp_path: Path) -> None:
    pair, client = pki.issue("server", "localhost"), pki.issue("client", "client.test", common_name="client")
    port = free_port()
    with subprocess.Popen(["node", "-e", _SERVER, str(port)], stderr=subprocess.DEVNULL) as service:
        try:
            eventually(lambda: listens(port), 30)
            config = configs.identity(pair, pki.trust) + configs.terminate(f"127.0.0.1:{port}", protocol="grpc")
            with (
                running(tmp_path / "sidecar", config) as sidecar,
                channel(sidecar.port(), credentials(pki, client)) as through,
            ):
                answer, call = unary(through).with_call(b"hello", timeout=30)
                assert answer == b"hello"
                assert "DNS=client.test" in dict(call.trailing_metadata())["x-who"]
                large = bytes(3 << 20)
                assert unary(through)(large, timeout=60) == large
                served = through.unary_stream(f"/{SERVICE}/ServerStream")(b"1000", timeout=30)
                assert list(served) == [b"%d" % number for number in range(1000)]
                sent = through.stream_unary(f"/{SERVICE}/ClientStream")(iter([b"x" * 1000] * 100), timeout=30)
                assert sent == b"100000"
                both = through.stream_stream(f"/{SERVICE}/Both")(iter([b"a", b"b"]), timeout=30)
                assert list(both) == [b"A", b"B"]
                with pytest.raises(grpc.RpcError) as caught:
                    unary(through)(b"fail", timeout=30)
                assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.NOT_FOUND, "no such thing")
        finally:
            service.terminate()
