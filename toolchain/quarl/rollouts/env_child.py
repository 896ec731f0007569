"""Environments in a Python of the user's own, served over a pipe: `PYTHON env_child.py DESCRIPTOR`.

In: requests as blocks. Out: one answer for each. This file stands alone: it is run by its path, in
an interpreter that has neither quarl nor what quarl needs, only gymnasium and numpy in any version.
Python 3.8 is enough. Nothing is pickled.

A block is 8 bytes of its length, little endian, and the rest. The rest is 4 bytes of the length of
a JSON text, the text, and the bytes of the arrays that it names, in order. In the text a value that
JSON has no word for is a list: its kind and its parts.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    del sys.path[0]  # the folder of this file, whose modules are not the user's

import contextlib
import importlib
import io
import json
import os
import signal
import warnings
from collections.abc import Mapping
from typing import Any

LEAST_PYTHON = (3, 8)
PROTOCOL = 1
_SUCCESS = ("success", "_success", "is_success", "_is_success")  # of an info: what quarl reads


class Other:
    """A value that has no form here; it is shown in its own words."""

    def __init__(self, words: str) -> None:
        self.words = words

    def __repr__(self) -> str:
        """Return its own words."""
        return self.words


def pack(value: Any) -> bytes:
    """Return a value as the rest of a block: plain values, arrays, lists, tuples and dicts."""
    import numpy as np

    arrays: list[bytes] = []

    def tree(part: Any) -> Any:
        if part is None or isinstance(part, (bool, str)) or type(part) in (int, float):
            return part
        if isinstance(part, (np.ndarray, np.generic)) and part.dtype.kind in "biuf":
            kind = "array" if isinstance(part, np.ndarray) else "scalar"
            arrays.append(np.ascontiguousarray(part).tobytes())
            return [kind, part.dtype.str, list(part.shape)]
        if isinstance(part, Mapping):
            return ["dict", [[tree(key), tree(entry)] for key, entry in part.items()]]
        if isinstance(part, (list, tuple)):
            kind = "list" if isinstance(part, list) else "tuple"
            return [kind, [tree(entry) for entry in part]]
        return ["other", repr(part)[:400]]

    text = json.dumps(tree(value)).encode()
    return b"".join([len(text).to_bytes(4, "little"), text, *arrays])


def unpack(block: bytes) -> Any:
    """Return the value in the rest of a block. Arrays may be written to."""
    import numpy as np

    at = 4 + int.from_bytes(block[:4], "little")

    def value(tree: Any) -> Any:
        nonlocal at
        if not isinstance(tree, list):
            return tree
        kind, *parts = tree
        if kind in ("array", "scalar"):
            dtype, shape = np.dtype(parts[0]), tuple(parts[1])
            count = 1
            for length in shape:
                count *= length
            array = np.frombuffer(block, dtype, count, at).reshape(shape).copy()
            at += array.nbytes
            return array if kind == "array" else array[()]
        if kind == "dict":
            return {value(key): value(entry) for key, entry in parts[0]}
        if kind == "other":
            return Other(str(parts[0]))
        entries = [value(entry) for entry in parts[0]]
        return entries if kind == "list" else tuple(entries)

    return value(json.loads(block[4:at].decode()))


def _space(space: Any) -> Any:
    """Return what describes a gymnasium space."""
    kind = type(space).__name__
    if kind == "Box":
        return {"kind": kind, "low": space.low, "high": space.high, "dtype": space.dtype.str}
    if kind == "Discrete":
        return {"kind": kind, "n": int(space.n), "start": int(getattr(space, "start", 0))}
    if kind == "MultiDiscrete":
        start = getattr(space, "start", None)
        return {"kind": kind, "nvec": space.nvec, "start": start, "dtype": space.dtype.str}
    if kind == "MultiBinary":
        many = space.n if isinstance(space.n, int) else [int(n) for n in space.n]
        return {"kind": kind, "n": many}
    if kind == "Dict":
        return {"kind": kind, "spaces": [[k, _space(part)] for k, part in space.spaces.items()]}
    if kind == "Tuple":
        return {"kind": kind, "spaces": [_space(part) for part in space.spaces]}
    return {"kind": "other", "words": repr(space)[:400]}


def _slim(info: Any) -> Any:
    """Return what quarl reads of an info; one that is not a dict as it is."""
    if not isinstance(info, Mapping):
        return Other(repr(info)[:400])
    return {key: _plain(info[key]) for key in _SUCCESS if key in info}


def _plain(value: Any) -> Any:
    """Return an array of objects as one of truth values: None is false."""
    import numpy as np

    if isinstance(value, np.ndarray) and value.dtype == object:
        return np.array([bool(entry) for entry in value])
    return value


def _check_named_by_file(words: str, found: Any, kind: Any, may_call: bool) -> None:
    """Check that what a file has called is an environment or a wrapper, as quarl does itself."""
    if not may_call and not (isinstance(found, type) and issubclass(found, kind)):
        raise ValueError(
            f"{words} is named by a file, and is not a class of gymnasium.{kind.__name__}: a file "
            "has nothing else called. Where you trust it, name it yourself: --env"
        )


class _Server:
    """Environments by the number that the other side gave them."""

    def __init__(self) -> None:
        self._envs: dict[int, Any] = {}

    def make(self, key: int, env_id: str, kwargs: Any, wrappers: Any, may_call: bool) -> Any:
        import gymnasium

        module, _, name = env_id.rpartition(":")
        imported = self._import(module, name)
        made = getattr(imported, name, None) if module and name.isidentifier() else None
        if made is not None:
            _check_named_by_file(env_id, made, gymnasium.Env, may_call)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if made is not None:
                env = made(**kwargs)
            else:
                env = gymnasium.make(name, disable_env_checker=True, **kwargs)
            for wrapper in wrappers:
                package, _, kind = wrapper.rpartition(":")
                found = getattr(importlib.import_module(package), kind)
                _check_named_by_file(wrapper, found, gymnasium.Wrapper, may_call)
                env = found(env)
        self._envs[key] = env
        spec = getattr(env, "spec", None)
        return {
            "observation": _space(env.observation_space),
            "action": _space(env.action_space),
            "time_limit": None if spec is None else spec.max_episode_steps,
            "metadata": dict(env.metadata),
        }

    def _import(self, module: str, name: str) -> Any:
        import gymnasium

        wanted = module or ("ale_py" if name.startswith("ALE/") else "")
        if not wanted:
            return None
        imported = importlib.import_module(wanted)
        if wanted == "ale_py" and hasattr(gymnasium, "register_envs"):
            gymnasium.register_envs(imported)
        return imported

    def make_vector(self, key: int, env_id: str, kwargs: Any, count: int) -> Any:
        """Return the spaces of an environment's own vectorised form; None where it has none."""
        import gymnasium

        module, _, name = env_id.rpartition(":")
        imported = self._import(module, name)
        if module and name.isidentifier() and hasattr(imported, name):
            return None
        if gymnasium.spec(name).vector_entry_point is None:
            return None
        from gymnasium.vector import AutoresetMode

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            env = self._envs[key] = gymnasium.make_vec(
                name,
                num_envs=count,
                vectorization_mode="vector_entry_point",
                autoreset_mode=AutoresetMode.DISABLED,
                **kwargs,
            )
        mode = env.metadata.get("autoreset_mode")
        return {
            "observation": _space(env.single_observation_space),
            "action": _space(env.single_action_space),
            "all_actions": _space(env.action_space),
            "is_disabled": mode == AutoresetMode.DISABLED,
            "rests": hasattr(env, "step_lanes"),
        }

    def reset(self, key: int, seed: Any, mask: Any = None) -> Any:
        more = {} if mask is None else {"options": {"reset_mask": mask}}
        answer = self._envs[key].reset(seed=seed, **more)
        return (answer[0], {}) if isinstance(answer, tuple) and len(answer) == 2 else answer

    def step(self, key: int, action: Any) -> Any:
        return self._stepped(self._envs[key].step(action))

    def step_lanes(self, key: int, lanes: Any, actions: Any) -> Any:
        return self._stepped(self._envs[key].step_lanes(lanes, actions))

    def _stepped(self, answer: Any) -> Any:
        if isinstance(answer, (tuple, list)) and len(answer) == 5:
            return (*answer[:4], _slim(answer[4]))
        return answer

    def render(self, key: int) -> Any:
        return self._envs[key].render()

    def close(self, key: int) -> None:
        env = self._envs.pop(key, None)
        if env is not None:
            env.close()


def _answer(server: _Server, block: bytes) -> bytes:
    name, *arguments = unpack(block)
    try:
        return pack({"returned": getattr(server, name)(*arguments)})
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # an environment that leaves, too
        words = ""
        with contextlib.suppress(Exception):
            words = str(error)
        missing = getattr(error, "name", None) if isinstance(error, ImportError) else None
        raised = [type(error).__name__, words[:2000], missing]
        return pack({"raised": raised})


def _read(descriptor: int, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        chunk = os.read(descriptor, min(count - len(data), 1 << 20))
        if not chunk:
            os._exit(0)  # the other side is gone
        data += chunk
    return bytes(data)


def _write(descriptor: int, block: bytes) -> None:
    view = memoryview(len(block).to_bytes(8, "little") + block)
    while view:
        view = view[os.write(descriptor, view) :]


def main() -> None:
    """Serve the pipe whose descriptor is the last argument."""
    descriptor = int(sys.argv[-1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other side decides when work ends
    os.dup2(2, 1)  # what an environment prints goes beside, line by line
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    hello: dict[str, Any] = {"protocol": PROTOCOL, "python": list(sys.version_info[:3])}
    try:
        import gymnasium
        import numpy as np
    except Exception as error:
        known = getattr(error, "name", None) if isinstance(error, ImportError) else None
        hello["lacks"] = [known, repr(error)[:400]]
        text = json.dumps({"plain": hello}).encode()
        _write(descriptor, len(text).to_bytes(4, "little") + text)
        return
    hello["versions"] = [gymnasium.__version__, np.__version__]
    text = json.dumps({"plain": hello}).encode()
    _write(descriptor, len(text).to_bytes(4, "little") + text)
    server = _Server()
    while True:
        size = int.from_bytes(_read(descriptor, 8), "little")
        _write(descriptor, _answer(server, _read(descriptor, size)))


if __name__ == "__main__":
    main()
