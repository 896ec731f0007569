"""DAgger (Ross et al. 2011): a network that sees the screen learns from a player that reads the
console's memory.

The network plays, the expert says what it would have done, and the network learns to say the same
from all that was seen so far.
Two things make it quick: the expert's advice is odds rather than one action, so that close calls
are not learnt as if they were clear, and the network's features must also tell the facts the expert
goes by, so that its eyes are taught directly.
`Rehearsal` goes through what was seen again while another learner has the network: points alone do
not keep what they seldom ask for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import PPO

from quarl.envs.atari import AtariLanes, Console
from quarl.train.breakout_expert import BreakoutExpert
from quarl.train.expert import Expert
from quarl.train.pong_expert import PongExpert

LESSONS = "lessons"  # their folder in the run's
STACK = 4
CONTRAST = 4.0
FACTS_WEIGHT = 10.0  # of their squared error against the divergence from the odds
MAX_GRADIENT = 0.5  # norm of a rehearsal's gradient, as PPO clips its own
FOLLOWING_SHARE = 0.3  # of the rounds: until then fewer and fewer lanes are played by the expert


EXPERTS: dict[str, Callable[[Console, np.random.Generator], Expert]] = {
    "breakout": BreakoutExpert,
    "pong": PongExpert,
}


@dataclass(frozen=True, slots=True)
class Imitation:
    """How a network imitates."""

    game: Mapping[str, Any]  # what `AtariLanes` are made with
    expert: str
    seed: int
    envs: int
    steps: int
    round_steps: int  # between two updates
    epochs: int
    batch_size: int
    learning_rate: float

    @property
    def rounds(self) -> int:
        """How often the network is updated."""
        return -(-self.steps // self.round_steps)


def imitate(
    model: PPO, plan: Imitation, run: Path, after_round: Callable[[int, str], None]
) -> None:
    """Teach the model's features and action head, from where `run` stands; `after_round` gets the
    steps so far and a report.
    """
    policy: Any = model.policy
    school = _School(plan, plan.seed)
    facts_net = torch.nn.Linear(policy.features_dim, school.facts)
    parameters = [
        *policy.features_extractor.parameters(),
        *policy.action_net.parameters(),
        *facts_net.parameters(),
    ]
    optimizer = torch.optim.Adam(parameters, lr=plan.learning_rate)
    folder = run / LESSONS
    folder.mkdir(parents=True, exist_ok=True)
    lessons = _read_lessons(folder)
    parts: dict[str, Any] = {"policy": policy, "facts_net": facts_net, "optimizer": optimizer}
    if lessons:
        for name, state in torch.load(run / "imitation.pt", weights_only=True).items():
            parts[name].load_state_dict(state)
    for number in range(len(lessons), plan.rounds):
        school.seed((plan.seed, number))
        followed = round(plan.envs * max(0.0, 1.0 - number / (FOLLOWING_SHARE * plan.rounds)))
        lesson = school.play(model, plan.round_steps // plan.envs, followed)
        lessons.append(lesson)
        if number == 0:
            _open_eyes(policy, float(lesson.frames.mean()) / 255)
        for group in optimizer.param_groups:
            group["lr"] = plan.learning_rate * (1.0 - number / plan.rounds)
        studied = _study(
            policy,
            facts_net,
            optimizer,
            _Shelf(lessons),
            plan,
            np.random.default_rng((plan.seed, number)),
        )
        torch.save({name: part.state_dict() for name, part in parts.items()}, run / "imitation.pt")
        _write_lesson(folder / f"{number:04d}.npz", lesson)
        report = f"round {number + 1} of {plan.rounds}: {studied}, games {school.report()}"
        after_round((number + 1) * plan.round_steps, report)


@dataclass(frozen=True, slots=True)
class _Lesson:
    """What was seen and advised in one round: [steps, lanes, ...]."""

    frames: NDArray[np.uint8]  # [steps, lanes, 84, 84], the newest of each stack
    age: NDArray[
        np.int32
    ]  # steps since the lane's game began or the round began, whichever is later
    odds: NDArray[np.float32]  # [..., actions], as advised
    urgency: NDArray[np.float32]
    facts: NDArray[np.float32]  # [..., facts]

    def usable(self) -> NDArray[np.int64]:
        """Return the flat indices of steps whose whole stack is in the round."""
        return np.flatnonzero(self.age.ravel() >= STACK - 1)

    def stacks(self, index: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return observations [n, 4, 84, 84] of these steps."""
        step, lane = np.divmod(index, self.frames.shape[1])
        return np.stack(
            [self.frames[step - back, lane] for back in range(STACK - 1, -1, -1)], axis=1
        )


class _Shelf:
    """Lessons to draw steps from, each step as likely as any other."""

    def __init__(self, lessons: Sequence[_Lesson]) -> None:
        self.lessons = lessons
        self._usable = [lesson.usable() for lesson in lessons]
        self._ends = np.cumsum([len(usable) for usable in self._usable])

    def draw(self, count: int, rng: np.random.Generator) -> list[_Part]:
        """Return `count` steps."""
        drawn = rng.integers(self._ends[-1], size=count)
        owner = np.searchsorted(self._ends, drawn, side="right")
        parts = []
        for which in np.unique(owner):
            first = self._ends[which] - len(self._usable[which])
            parts.append((self.lessons[which], self._usable[which][drawn[owner == which] - first]))
        return parts


_Part: TypeAlias = tuple[_Lesson, NDArray[np.int64]]
"""A lesson and flat indices of steps in it."""


def _read_lessons(folder: Path) -> list[_Lesson]:
    lessons = []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as arrays:
            lessons.append(
                _Lesson(
                    arrays["frames"],
                    arrays["age"],
                    arrays["odds"],
                    arrays["urgency"],
                    arrays["facts"],
                )
            )
    return lessons


def _write_lesson(path: Path, lesson: _Lesson) -> None:
    np.savez_compressed(
        path,
        frames=lesson.frames,
        age=lesson.age,
        odds=lesson.odds,
        urgency=lesson.urgency,
        facts=lesson.facts,
    )


def _open_eyes(policy: Any, brightness: float) -> None:
    """Let the untrained first layer see differences from the mean brightness, larger, instead of a
    bright screen with specks on it.

    Args:
        brightness: mean of the pixels, 0..1.
    """
    first = policy.features_extractor.cnn[0]
    with torch.no_grad():
        first.weight.mul_(CONTRAST)
        first.bias.copy_(-brightness * first.weight.sum(dim=(1, 2, 3)))


class _School:
    """Lanes with a console and an expert each."""

    def __init__(self, plan: Imitation, seed: int) -> None:
        self._lanes = AtariLanes(num_envs=plan.envs, **plan.game)
        self._rng = np.random.default_rng(seed)
        sticky = plan.game.get("repeat_action_probability", 0.0)
        self._consoles = [
            Console(plan.game["game"], repeat_action_probability=sticky) for _ in range(plan.envs)
        ]
        self._experts = [EXPERTS[plan.expert](console, self._rng) for console in self._consoles]
        self.facts = self._experts[0].facts
        self._returns = np.zeros(plan.envs)
        self._finished: list[float] = []
        self._obs = np.zeros(0, np.uint8)
        self._restart(np.ones(plan.envs, np.bool_))

    def seed(self, seed: tuple[int, ...]) -> None:
        """Set what is drawn from now on."""
        self._rng.bit_generator.state = np.random.default_rng(seed).bit_generator.state

    def _restart(self, mask: NDArray[np.bool_]) -> None:
        seeds = [int(self._rng.integers(2**31 - 1)) for _ in mask]
        everything = bool(mask.all())
        obs, info = self._lanes.reset(
            seed=seeds, options=None if everything else {"reset_mask": mask}
        )
        if everything:
            self._obs = obs
        self._obs[mask] = obs[mask]
        for lane in np.flatnonzero(mask):
            self._consoles[lane].start(int(info["episode_frame_number"][lane]), seeds[lane])
            self._experts[lane].start()
            self._returns[lane] = 0.0

    def report(self) -> str:
        """Return the returns of the last games."""
        return " ".join(f"{points:.0f}" for points in self._finished[-8:])

    def play(self, model: PPO, steps: int, followed: int) -> _Lesson:
        """Return a round in every lane: the expert acts in the first `followed`, the model in the
        others, half of them without chance.
        """
        lanes, actions_count = self._lanes.num_envs, len(self._consoles[0].actions)
        frames, age = (
            np.zeros((steps, lanes, *self._obs.shape[2:]), np.uint8),
            np.zeros((steps, lanes), np.int32),
        )
        odds, urgency = (
            np.zeros((steps, lanes, actions_count), np.float32),
            np.zeros((steps, lanes), np.float32),
        )
        facts = np.zeros((steps, lanes, self.facts), np.float32)
        since = np.zeros(lanes, np.int32)
        lane_numbers = np.arange(lanes)
        for step in range(steps):
            frames[step], age[step] = self._obs[:, -1], since
            advices = [expert.advise() for expert in self._experts]
            odds[step] = [advice.odds for advice in advices]
            urgency[step] = [advice.urgency for advice in advices]
            facts[step] = [advice.facts for advice in advices]
            chosen = choose(model, self._obs, lane_numbers % 2 == 0)
            actions = np.where(
                lane_numbers < followed, [advice.action for advice in advices], chosen
            )
            obs, points, terminated, truncated, _ = self._lanes.step(actions)
            self._obs = obs
            self._returns += points
            since += 1
            for lane, expert in enumerate(self._experts):
                self._consoles[lane].step(int(actions[lane]))
                expert.watch(int(actions[lane]))
            done = terminated | truncated
            if done.any():
                self._finished += self._returns[done].tolist()
                self._restart(done)
                since[done] = 0
        return _Lesson(frames, age, odds, urgency, facts)


def _study(
    policy: Any,
    facts_net: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    shelf: _Shelf,
    plan: Imitation,
    rng: np.random.Generator,
) -> str:
    """Update the policy on the newest lesson and as many older steps; return a line about it.

    The features have to tell the facts too: what the expert knows of ball and paddle is what the
    network must learn to see.
    """
    marks = []
    half = plan.batch_size // 2
    newest = shelf.lessons[-1]
    new = newest.usable()
    for _ in range(plan.epochs):
        order = rng.permutation(new)
        for start in range(0, len(order) - half + 1, half):
            obs, odds, urgency, facts = _tensors(
                [(newest, order[start : start + half]), *shelf.draw(half, rng)]
            )
            features = policy.extract_features(obs)
            logits = policy.action_net(features)
            loss = _advice_loss(logits, odds, urgency)
            entropy = (torch.special.entr(odds).sum(1) * urgency).sum() / urgency.sum()
            seen = torch.nn.functional.mse_loss(facts_net(features), facts)
            optimizer.zero_grad()
            (loss + FACTS_WEIGHT * seen).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            agreed = ((logits.argmax(1) == odds.argmax(1)) * urgency).sum() / urgency.sum()
            marks.append((float(loss.detach() - entropy), float(seen.detach()), float(agreed)))
    divergence, blindness, agreement = np.mean(marks, axis=0)
    return (
        f"divergence from the odds {divergence:.3f}, error of the facts {blindness:.4f}, "
        f"agreement {agreement:.3f}"
    )


class Rehearsal:
    """What the expert said of all that was seen, gone through again, a batch of steps at a time.

    A Breakout player that PPO took on without it forgot to serve: its likeliest action was to wait,
    in 15 of 24 games to their end, and as it waited so seldom where actions are drawn, points did
    not tell it. The idea is that of DAPG (Rajeswaran et al. 2018).
    """

    def __init__(
        self, model: PPO, run: Path, sharpening: float, batch_size: int, seed: int
    ) -> None:
        policy: Any = model.policy
        self._policy = policy
        self._shelf = _Shelf(_read_lessons(run / LESSONS))
        self._sharpening, self._batch_size = sharpening, batch_size
        self._rng = np.random.default_rng(seed)
        self._parameters = [
            *policy.features_extractor.parameters(),
            *policy.action_net.parameters(),
        ]
        self._optimizer = torch.optim.Adam(self._parameters)

    def update(self, learning_rate: float) -> float:
        """Take a step of Adam towards the expert's odds, as sharp as the policy's own; return how
        likely its favourite action was.
        """
        obs, odds, urgency, _ = _tensors(self._shelf.draw(self._batch_size, self._rng))
        sharp = odds**self._sharpening
        logits = self._policy.action_net(self._policy.extract_features(obs))
        loss = _advice_loss(logits, sharp / sharp.sum(1, keepdim=True), urgency)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._parameters, MAX_GRADIENT)
        self._optimizer.step()
        likely = logits.detach().softmax(1).gather(1, odds.argmax(1, keepdim=True))
        return float(likely.mean())


def _advice_loss(logits: torch.Tensor, odds: torch.Tensor, urgency: torch.Tensor) -> torch.Tensor:
    return (
        torch.nn.functional.cross_entropy(logits, odds, reduction="none") * urgency
    ).sum() / urgency.sum()


def _tensors(parts: list[_Part]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return observations, odds, urgency and facts of the steps."""
    obs = torch.from_numpy(np.concatenate([lesson.stacks(index) for lesson, index in parts]))
    odds, urgency, facts = (
        torch.from_numpy(np.concatenate(column)) for column in zip(*_columns(parts), strict=True)
    )
    return obs, odds, urgency, facts


def _columns(parts: list[_Part]) -> Iterable[tuple[NDArray[np.float32], ...]]:
    for lesson, index in parts:
        step, lane = np.divmod(index, lesson.age.shape[1])
        yield lesson.odds[step, lane], lesson.urgency[step, lane], lesson.facts[step, lane]


def choose(model: PPO, obs: NDArray[np.uint8], sure: bool | NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return actions [lanes]: the likeliest where `sure`, else drawn."""
    with torch.no_grad():
        logits = model.policy.action_net(features_of(model, obs))
        drawn = torch.multinomial(logits.softmax(1), 1)[:, 0]
    return np.where(sure, logits.argmax(1).numpy(), drawn.numpy())


def features_of(model: PPO, obs: NDArray[np.uint8]) -> torch.Tensor:
    """Return the features [lanes, features] that both heads read."""
    features = model.policy.extract_features(torch.from_numpy(obs))
    assert isinstance(features, torch.Tensor), "the heads share one extractor"
    return features
