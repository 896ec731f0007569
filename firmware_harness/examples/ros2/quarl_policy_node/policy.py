# SPDX-License-Identifier: Apache-2.0
"""A policy in a shared library, by its contract: observations in, actions out. Standard library
only.
"""

import ctypes
import json
from pathlib import Path


class Policy:
    """The policy of an export's CMake package, built with BUILD_SHARED_LIBS=ON."""

    def __init__(self, library, contract, prefix="ql_policy"):
        """Load the library and replay its example.

        Raises:
            RuntimeError: the library computes something else than what was judged.
        """
        stated = json.loads(Path(contract).read_text(encoding="utf-8"))
        observation, action = stated["observation"], stated["action"]
        if stated.get("state"):
            raise RuntimeError(
                f"{contract}: a recurrent policy, whose state this class does not keep"
            )
        self.step_hz = stated["step_hz"]
        self.count = 1
        for length in observation["shape"]:
            self.count *= length
        element = ctypes.c_uint8 if observation["dtype"] == "uint8" else ctypes.c_float
        self._observation = (element * self.count)()
        self._is_box = action["kind"] == "box"
        counts = action.get("counts") or [action["count"]]
        width = action["count"] if self._is_box else len(counts)
        self._action = ((ctypes.c_float if self._is_box else ctypes.c_int32) * width)()
        loaded = ctypes.CDLL(str(library))
        self._act = getattr(loaded, prefix + "_act")
        if getattr(loaded, prefix + "_check")() != 0:
            raise RuntimeError(f"{library}: computes something else than what was judged")

    def act(self, observation):
        """Return the action for an observation in the environment's units, both as flat lists.

        Raises:
            ValueError: the observation has another length.
        """
        if len(observation) != self.count:
            raise ValueError(f"{len(observation)} values, the policy observes {self.count}")
        self._observation[:] = list(observation)
        status = self._act(self._observation, self._action)
        if status != 0:
            raise RuntimeError(f"the policy answered with status {status}")
        return list(self._action)
