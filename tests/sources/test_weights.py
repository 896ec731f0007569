"""Weights that the wheel leaves out: from a folder or a URL, with the digest that was published, or
not at all.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from toolchain.dev.write_weights import MODELS, ROOT, left_out, parameters_of

from quarl.errors import InputError
from quarl.sources import weights
from quarl.sources.source import open_source
from quarl.sources.weights import find_file, read_stored, stored_text
from quarl.workers.progress import Progress

DATA = bytes(range(256)) * 1000


@dataclass
class Server:
    """A web server on this machine; it answers a path with what it is told."""

    url: str
    pages: dict[str, bytes] = field(default_factory=dict)
    announced: dict[str, int] = field(
        default_factory=dict
    )  # lengths that are not the page's own: the connection is cut
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # http.server's own name
            told.asked.append(self.path)
            page = told.pages.get(self.path)
            if page is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(told.announced.get(self.path, len(page))))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told = Server(f"http://127.0.0.1:{httpd.server_address[1]}/models")
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield told
    httpd.shutdown()
    httpd.server_close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A policy's folder as the wheel leaves it: without its weights."""
    whole = tmp_path / "checkout"
    (whole / "big_ppo").mkdir(parents=True)
    (whole / "big_ppo" / "policy.zip").write_bytes(DATA)
    installed = tmp_path / "installed"
    (installed / "big_ppo").mkdir(parents=True)
    (installed / "weights.toml").write_text(
        stored_text(whole, {"big_ppo/policy.zip": 1234}), encoding="utf-8"
    )
    return installed / "big_ppo"


def written(cache: Path) -> list[Path]:
    return [path for path in cache.rglob("*") if path.is_file()]


def test_a_file_beside_the_recipe_is_taken_as_it_is(folder: Path, tmp_path: Path) -> None:
    (folder / "policy.zip").write_bytes(b"mine")
    assert (
        find_file(folder, "policy.zip", origin=None, cache=tmp_path / "cache")
        == folder / "policy.zip"
    )


@pytest.mark.long
def test_a_file_is_fetched_once_with_progress_and_then_comes_from_the_cache(
    folder: Path, tmp_path: Path, server: Server
) -> None:
    server.pages["/models/big_ppo/policy.zip"] = DATA
    seen: list[tuple[int, int]] = []
    told: list[str] = []

    @contextmanager
    def fetching(what: str) -> Iterator[Progress]:
        told.append(what)
        yield lambda done, count: seen.append((done, count))

    cache = tmp_path / "cache"
    first = find_file(folder, "policy.zip", origin=server.url, cache=cache, fetching=fetching)
    again = find_file(folder, "policy.zip", origin=server.url, cache=cache, fetching=fetching)
    assert first == again
    assert first.read_bytes() == DATA
    assert first.name == "policy.zip"
    assert server.asked == ["/models/big_ppo/policy.zip"]
    assert told == ["fetching big_ppo/policy.zip"]
    assert seen[-1] == (len(DATA), len(DATA))
    assert written(cache) == [first]
    assert find_file(folder, "policy.zip", origin=None, cache=cache) == first


def test_a_file_that_was_damaged_in_the_cache_is_fetched_again(
    folder: Path, tmp_path: Path, server: Server
) -> None:
    server.pages["/models/big_ppo/policy.zip"] = DATA
    kept = find_file(folder, "policy.zip", origin=server.url, cache=tmp_path / "cache")
    kept.write_bytes(DATA[:-1])
    assert (
        find_file(folder, "policy.zip", origin=server.url, cache=tmp_path / "cache").read_bytes()
        == DATA
    )
    assert len(server.asked) == 2


@pytest.mark.long
@pytest.mark.parametrize(
    ("page", "announced", "message"),
    [
        (DATA[:-1] + b"!", None, "SHA-256 is .* published was .*QUARL_WEIGHTS"),
        (DATA[:5000], None, r"cut after 5,000 of 256,000 B"),
        (DATA[:5000], len(DATA), r"IncompleteRead|cut after"),
        (DATA + b"more", None, r"longer than the 256,000 B"),
        (None, None, "the server answers 404"),
    ],
    ids=["wrong digest", "short", "cut", "long", "missing"],
)
def test_what_is_not_the_published_file_is_refused_and_leaves_nothing(
    folder: Path,
    tmp_path: Path,
    server: Server,
    page: bytes | None,
    announced: int | None,
    message: str,
) -> None:
    if page is not None:
        server.pages["/models/big_ppo/policy.zip"] = page
    if announced is not None:
        server.announced["/models/big_ppo/policy.zip"] = announced
    with pytest.raises(InputError, match=message):
        find_file(folder, "policy.zip", origin=server.url, cache=tmp_path / "cache")
    assert not written(tmp_path / "cache")
    assert not list((tmp_path / "cache" / "weights").iterdir())


@pytest.fixture
def dripping() -> Iterator[Callable[[bytes], str]]:
    """A server that sends this at once, and then a byte now and then for ever."""
    ended = threading.Event()
    servers: list[socket.socket] = []

    def serve(listener: socket.socket, first: bytes) -> None:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            connection.recv(10_000)
            connection.sendall(first)
            while not ended.wait(0.02):
                connection.sendall(b"a")

    def begin(first: bytes) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        servers.append(listener)
        threading.Thread(target=serve, args=(listener, first), daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield begin
    ended.set()
    for listener in servers:
        listener.close()


@pytest.mark.long
@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nX: ",
        b"HTTP/1.1 200 OK\r\nContent-Length: 256000\r\n\r\n",
    ],
    ids=["status", "head", "page"],
)
def test_a_server_that_sends_a_byte_now_and_then_is_cut_off(
    folder: Path,
    tmp_path: Path,
    dripping: Callable[[bytes], str],
    monkeypatch: pytest.MonkeyPatch,
    first: bytes,
) -> None:
    monkeypatch.setattr(weights, "TIMEOUT_S", 0.4)
    monkeypatch.setattr(weights, "SLOWEST_BYTES_PER_S", 1e9)
    with pytest.raises(InputError, match=r"cannot be fetched|within the time"):
        find_file(folder, "policy.zip", origin=dripping(first), cache=tmp_path / "cache")
    assert not written(tmp_path / "cache")


@pytest.mark.long
def test_a_server_that_is_not_there_is_named(folder: Path, tmp_path: Path, server: Server) -> None:
    with pytest.raises(InputError, match=r"127\.0\.0\.1:9/big_ppo/policy\.zip: cannot be fetched"):
        find_file(folder, "policy.zip", origin="http://127.0.0.1:9", cache=tmp_path / "cache")


def test_a_folder_the_user_names_is_used_in_place(folder: Path, tmp_path: Path) -> None:
    found = find_file(
        folder, "policy.zip", origin=str(tmp_path / "checkout"), cache=tmp_path / "cache"
    )
    assert found == tmp_path / "checkout" / "big_ppo" / "policy.zip"
    assert not written(tmp_path / "cache")
    found.write_bytes(b"another release")
    with pytest.raises(InputError, match=r"big_ppo.policy\.zip: SHA-256 is"):
        find_file(folder, "policy.zip", origin=str(tmp_path / "checkout"), cache=tmp_path / "cache")
    with pytest.raises(InputError, match=r"there is no big_ppo/policy\.zip in it"):
        find_file(folder, "policy.zip", origin=str(tmp_path), cache=tmp_path / "cache")


@pytest.mark.parametrize("origin", [None, ""])
def test_without_a_place_to_fetch_from_the_message_says_what_to_set(
    folder: Path, tmp_path: Path, origin: str | None
) -> None:
    with pytest.raises(
        InputError,
        match=r"big_ppo: policy\.zip \(256,000 B\) is not part of the installed package\. Set "
        r"QUARL_WEIGHTS",
    ):
        find_file(folder, "policy.zip", origin=origin, cache=tmp_path / "cache")


@pytest.mark.long
def test_the_cache_stays_within_its_bound(
    folder: Path, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "cache" / "weights" / "0123456789abcdef" / "policy.zip"
    old.parent.mkdir(parents=True)
    old.write_bytes(DATA)
    server.pages["/models/big_ppo/policy.zip"] = DATA
    monkeypatch.setattr(weights, "MOST_CACHED_BYTES", len(DATA) + 1)
    kept = find_file(folder, "policy.zip", origin=server.url, cache=tmp_path / "cache")
    assert written(tmp_path / "cache") == [kept]
    assert not old.parent.exists()


def test_a_list_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.toml").write_text('["a/b"]\nbytes = 3\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"weights\.toml"):
        read_stored(tmp_path)


def test_a_list_remembers_digest_size_and_parameters(folder: Path) -> None:
    stored = read_stored(folder.parent)["big_ppo/policy.zip"]
    assert (stored.bytes, stored.sha256, stored.parameters) == (
        len(DATA),
        hashlib.sha256(DATA).hexdigest(),
        1234,
    )


@pytest.mark.long
def test_weights_toml_lists_what_the_wheel_leaves_out_as_it_is() -> None:
    listed = read_stored(MODELS)
    assert sorted(listed) == left_out(), "run: python -m toolchain.dev.write_weights"
    for path, stored in listed.items():
        data = (MODELS / path).read_bytes()
        found = len(data), hashlib.sha256(data).hexdigest(), parameters_of(path)
        assert found == (stored.bytes, stored.sha256, stored.parameters), (
            f"{path}: run: python -m toolchain.dev.write_weights"
        )


def test_no_shipped_file_of_more_than_a_megabyte_is_in_the_wheel() -> None:
    large = {
        path.relative_to(MODELS).as_posix()
        for path in MODELS.glob("*/*")
        if path.stat().st_size > 2**20
    }
    finished = {path for path in large if (MODELS / path).with_name("SOURCE.md").is_file()}
    assert finished <= set(left_out()), f"exclude them in {ROOT / 'pyproject.toml'}"


def test_a_shipped_policy_without_its_weights_is_opened_from_where_the_variable_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from quarl.importers import ImportOptions

    for name in ("recipe.toml", "calibration.npz", "heldout.npz", "policy.zip"):
        place = (
            tmp_path
            / ("installed" if name == "recipe.toml" else "elsewhere")
            / "cartpole_ppo"
            / name
        )
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes((MODELS / "cartpole_ppo" / name).read_bytes())
    listed = {
        f"cartpole_ppo/{name}": None for name in ("calibration.npz", "heldout.npz", "policy.zip")
    }
    (tmp_path / "installed" / "weights.toml").write_text(
        stored_text(tmp_path / "elsewhere", listed), encoding="utf-8"
    )
    installed = str(tmp_path / "installed" / "cartpole_ppo")
    monkeypatch.delenv("QUARL_WEIGHTS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(InputError, match="QUARL_WEIGHTS"):
        open_source(installed, ImportOptions(), None)
    monkeypatch.setenv("QUARL_WEIGHTS", str(tmp_path / "elsewhere"))
    from quarl.sources.observations import observations_of

    source = open_source(installed, ImportOptions(), None)
    fitted, held = observations_of(source, None)
    assert len(fitted.obs) > len(held.obs) > 0
