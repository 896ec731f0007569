"""Atari: the lanes, the expert that reads memory, and the whole training path in its quick form."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from quarl.errors import InputError
from quarl.sources.recipe import EnvRecipe, parse_recipe, read_recipe
from quarl.train.trained import Run
from tests.conftest import need

pytestmark = pytest.mark.train

POLICY = Path(__file__).parents[2] / "models" / "pong_ppo"
DQN_RECIPE = Path(__file__).parents[2] / "models" / "pong_dqn" / "recipe.toml"


def test_a_lane_that_is_reset_by_mask_plays_the_episode_of_its_seed() -> None:
    need("ale_py")
    from quarl.envs.atari import AtariLanes

    many, one = AtariLanes("pong", 3), AtariLanes("pong", 1)
    many.reset(seed=[1, 2, 3])
    many.step(np.array([2, 3, 0]))
    before, _ = many.reset(seed=[9, 9, 9], options={"reset_mask": np.array([False, True, False])})
    alone, _ = one.reset(seed=[9])
    np.testing.assert_array_equal(before[1], alone[0])
    for action in (2, 2, 3, 0, 5):
        side_by_side, _, _, _, _ = many.step(np.array([0, action, 4]))
        alone, _, _, _, _ = one.step(np.array([action]))
        np.testing.assert_array_equal(side_by_side[1], alone[0])


def test_a_game_made_by_gymnasium_shows_what_a_lane_shows() -> None:
    need("ale_py")
    import gymnasium

    from quarl.envs.atari import AtariLanes

    game = gymnasium.make("quarl.envs.atari:quarl/Atari-v0", game="pong", render_mode="rgb_array")
    lane = AtariLanes("pong", 1)
    obs, _ = game.reset(seed=4)
    np.testing.assert_array_equal(obs, lane.reset(seed=[4])[0][0])
    for action in (2, 3, 3):
        obs, *_ = game.step(action)
        np.testing.assert_array_equal(obs, lane.step(np.array([action]))[0][0])
    screen = game.render()
    assert isinstance(screen, np.ndarray)
    assert screen.shape == (210, 160, 3)


def test_integers_of_a_game_are_refused_before_it_is_learned(tmp_path: Path) -> None:
    need("ale_py", "torch")
    from quarl.train.atari import train_atari

    text = (POLICY / "recipe.toml").read_text(encoding="utf-8")
    recipe = parse_recipe(f"{text}\n[qat]\nweights = 4\ndelay = 0.5\n", "test")
    with pytest.raises(InputError, match=r"pong_ppo: \[qat\]: .* quarl finetune"):
        train_atari(recipe, POLICY, tmp_path, Run(tmp_path))


@pytest.mark.parametrize("game", ["pong", "breakout"])
def test_a_console_that_is_told_the_actions_scores_what_its_lane_scores(game: str) -> None:
    need("ale_py")
    from quarl.envs.atari import AtariLanes, Console

    rng = np.random.default_rng(0)
    lanes, console = AtariLanes(game, 1), Console(game)
    points = []
    for seed in range(7, 12):
        _, info = lanes.reset(seed=seed)
        console.start(int(info["episode_frame_number"][0]))
        for _ in range(200):
            action = int(rng.integers(4))
            _, scored, terminated, _, _ = lanes.step(np.array([action]))
            points.append((float(scored[0]), console.step(action)))
            if terminated[0]:
                break
    assert any(scored for scored, _ in points)
    assert all(scored == told for scored, told in points)


def test_the_lanes_name_the_games_there_are_when_asked_for_another() -> None:
    need("ale_py")
    from quarl.envs.atari import AtariLanes

    with pytest.raises(ValueError, match="pong"):
        AtariLanes("ping", 1)


def test_the_pong_expert_wins_the_first_points_of_a_game() -> None:
    need("ale_py")
    from quarl.envs.atari import Console
    from quarl.train.pong_expert import PongExpert

    console = Console("pong")
    expert = PongExpert(console, np.random.default_rng(0))
    console.start(6)
    points = []
    while len(points) < 3:
        action = expert.advise().action
        scored = console.step(action)
        expert.watch(action)
        points += [scored] if scored else []
    assert points == [1.0, 1.0, 1.0]


def test_the_breakout_expert_keeps_the_ball_in_play_and_breaks_bricks() -> None:
    need("ale_py")
    from quarl.envs.atari import Console
    from quarl.train.breakout_expert import BreakoutExpert

    console = Console("breakout")
    expert = BreakoutExpert(console, np.random.default_rng(0))
    console.start(6)
    points = 0.0
    for _ in range(400):
        advice = expert.advise()
        assert sum(advice.odds) == pytest.approx(1.0)
        assert len(advice.facts) == expert.facts
        points += console.step(advice.action)
        expert.watch(advice.action)
    assert points >= 10.0
    assert console.ale.lives() == 5


@pytest.mark.parametrize("game", ["pong", "breakout"])
def test_the_expert_reads_the_memory_of_the_very_game_that_is_played_where_actions_stick(
    game: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("ale_py", "torch", "stable_baselines3")
    from quarl.train import dagger

    sticky = {"game": game, "repeat_action_probability": 0.25}
    plan = dagger.Imitation(
        sticky,
        game,
        seed=1,
        envs=2,
        steps=1,
        round_steps=1,
        epochs=1,
        batch_size=2,
        learning_rate=1e-4,
    )
    monkeypatch.setattr(dagger, "choose", lambda model, obs, sure: np.zeros(len(obs), np.int64))
    school = dagger._School(plan, seed=3)
    told = [0.0, 0.0]
    for lane, (expert, played) in enumerate(zip(school._experts, school._consoles, strict=True)):
        tried: list[float] = []  # the expert tries things out on its console, and puts it back

        def step(
            action: int, tried: list[float] = tried, play: Callable[[int], float] = played.step
        ) -> float:
            tried.append(play(action))
            return tried[-1]

        def watch(
            action: int,
            lane: int = lane,
            tried: list[float] = tried,
            look: Callable[[int], None] = expert.watch,
        ) -> None:
            told[lane] += tried[-1]
            look(action)

        monkeypatch.setattr(played, "step", step)
        monkeypatch.setattr(expert, "watch", watch)
    school.play(None, 300, followed=2)  # type: ignore[arg-type]  # the expert plays in both lanes
    assert not school._finished, "no game ends in 300 steps"
    assert school._returns.tolist() == told
    assert any(told), "points were scored"


def test_quick_training_goes_through_imitation_and_ppo_writes_the_folder_and_resumes(
    tmp_path: Path,
) -> None:
    need("ale_py", "torch", "stable_baselines3")
    from stable_baselines3 import PPO

    from quarl.train import train
    from quarl.train.atari_ppo import fit

    recipe = read_recipe(POLICY)
    stages = []
    folder, out, runs = tmp_path / "pong_ppo", tmp_path / "out" / "pong_ppo", tmp_path / "runs"
    folder.mkdir()
    text = (POLICY / "recipe.toml").read_text(encoding="utf-8")
    (folder / "recipe.toml").write_text(
        text.replace("rehearsals = 0", "rehearsals = 1"), encoding="utf-8"
    )
    measured = train(
        folder, out, runs=runs, quick=True, progress=lambda progress: stages.append(progress.steps)
    )
    share = recipe.train.hyperparameters["imitation_share"]
    assert isinstance(share, float)
    assert stages == [int(share * recipe.train.quick_steps), recipe.train.quick_steps]
    assert measured.score is not None
    assert -21.0 <= measured.score.mean_return < 0.0
    story = (out / "SOURCE.md").read_text(encoding="utf-8")
    assert "DAgger" in story
    assert "before each rollout, 1 x 256 steps" in story
    assert "rehearsed: " in (runs / "pong_ppo" / "log.txt").read_text(encoding="utf-8")

    loaded = PPO.load(out / "policy.zip", device="cpu")
    assert (out / "policy.zip").stat().st_size < 8_000_000
    with np.load(out / "calibration.npz") as kept, np.load(out / "heldout.npz") as held:
        assert (
            kept["obs"].shape[1:]
            == held["obs"].shape[1:]
            == loaded.observation_space.shape
            == (4, 84, 84)
        )
        assert kept["obs"].dtype == np.uint8
        assert len(kept["obs"]) == len(kept["episode"])
        obs = kept["obs"][:16]
    resumed = fit(recipe, Run(runs / "pong_ppo", quick=True, resume=True))
    np.testing.assert_array_equal(
        resumed.trained.actor(obs), loaded.predict(obs, deterministic=True)[0]
    )


def test_dqn_begins_with_its_teachers_choices_learns_and_resumes(tmp_path: Path) -> None:
    need("ale_py", "torch", "stable_baselines3")
    from stable_baselines3 import DQN, PPO

    from quarl.train.atari_dqn import _begin_as, fit
    from quarl.train.sb3_lanes import Lanes

    text = DQN_RECIPE.read_text(encoding="utf-8").replace("quick_steps = 512", "quick_steps = 128")
    recipe = parse_recipe(text, "recipe.toml")
    with np.load(POLICY / "heldout.npz") as held:
        obs = held["obs"][:32]
    teacher = PPO.load(POLICY / "policy.zip", device="cpu")
    begun = DQN("CnnPolicy", Lanes(recipe.env, 1), buffer_size=1, device="cpu")
    _begin_as(begun, teacher, 0.02)
    np.testing.assert_array_equal(
        begun.predict(obs, deterministic=True)[0], teacher.predict(obs, deterministic=True)[0]
    )

    player = fit(recipe, Run(tmp_path, quick=True))
    player.trained.save(tmp_path / "policy.zip")
    loaded = DQN.load(tmp_path / "policy.zip", device="cpu")
    np.testing.assert_array_equal(
        player.trained.actor(obs), loaded.predict(obs, deterministic=True)[0]
    )
    before = begun.policy.q_net.q_net[0].weight
    assert not np.array_equal(before.detach(), loaded.policy.q_net.q_net[0].weight.detach()), (
        "it has learnt"
    )
    resumed = fit(recipe, Run(tmp_path, quick=True, resume=True))
    np.testing.assert_array_equal(resumed.trained.actor(obs), player.trained.actor(obs))


def test_training_names_the_hyperparameters_that_are_missing_or_unknown(tmp_path: Path) -> None:
    need("ale_py", "torch", "stable_baselines3")
    from quarl.train.atari_ppo import fit

    text = (
        (POLICY / "recipe.toml")
        .read_text(encoding="utf-8")
        .replace("imitation_round", "imitation_rounds")
    )
    with pytest.raises(
        InputError, match=r"missing \['imitation_round'\], unknown \['imitation_rounds'\]"
    ):
        fit(parse_recipe(text, "recipe.toml"), Run(tmp_path, quick=True))


def test_a_recipe_that_leaves_ppo_nothing_is_refused(tmp_path: Path) -> None:
    need("ale_py", "torch", "stable_baselines3")
    from quarl.train.atari_ppo import fit

    text = re.sub(
        r"imitation_share = \S+",
        "imitation_share = 1.0",
        (POLICY / "recipe.toml").read_text(encoding="utf-8"),
    )
    with pytest.raises(InputError, match=r"imitation_share 1\.0; allowed: between 0 and 1"):
        fit(parse_recipe(text, "recipe.toml"), Run(tmp_path, quick=True))


@pytest.mark.parametrize("setting", ["imitation_share = 1e-5", "imitation_round = 0"])
def test_a_recipe_with_rounds_too_short_to_learn_from_is_refused(
    setting: str, tmp_path: Path
) -> None:
    need("ale_py", "torch", "stable_baselines3")
    from quarl.train.atari_ppo import fit

    name = setting.partition(" ")[0]
    text = re.sub(rf"{name} = \S+", setting, (POLICY / "recipe.toml").read_text(encoding="utf-8"))
    with pytest.raises(
        InputError, match="a round of imitation has 0 steps; at least 4 steps in each of 8 games"
    ):
        fit(parse_recipe(text, "recipe.toml"), Run(tmp_path, quick=True))


def test_a_rehearsal_brings_back_what_the_expert_said_and_ppo_has_forgotten(tmp_path: Path) -> None:
    need("ale_py", "torch", "stable_baselines3")
    import torch
    from stable_baselines3 import PPO

    from quarl.train.dagger import LESSONS, Rehearsal, choose
    from quarl.train.sb3_lanes import Lanes

    rng = np.random.default_rng(0)
    steps, lanes = 40, 2
    frames = rng.integers(0, 256, (steps, lanes, 84, 84), np.uint8)
    said = rng.integers(0, 4, (steps, lanes))
    odds = np.full((steps, lanes, 4), 0.1, np.float32)
    np.put_along_axis(odds, said[..., None], 0.7, axis=2)
    age = np.broadcast_to(np.arange(steps, dtype=np.int32)[:, None], (steps, lanes))
    (tmp_path / LESSONS).mkdir()
    urgency, facts = np.ones((steps, lanes), np.float32), np.zeros((steps, lanes, 1), np.float32)
    np.savez(
        tmp_path / LESSONS / "0000.npz",
        frames=frames,
        age=age,
        odds=odds,
        urgency=urgency,
        facts=facts,
    )
    torch.manual_seed(0)
    env = EnvRecipe("quarl.envs.atari:quarl/Atari-v0", {"game": "breakout"}, {})
    model = PPO("CnnPolicy", Lanes(env, 1), n_steps=8, batch_size=8, device="cpu")
    rehearsal = Rehearsal(model, tmp_path, 3.0, 32, seed=0)
    likely = [rehearsal.update(1e-3) for _ in range(60)]
    assert likely[0] < 0.4
    assert likely[-1] > 0.9, "0.7 against 0.1 is 0.99 once sharpened"
    stacks = np.stack([frames[step - 3 : step + 1, 0] for step in range(3, steps)])
    assert (choose(model, stacks, True) == said[3:, 0]).mean() > 0.95


def test_to_a_learner_an_episode_ends_with_each_life_and_the_game_goes_on() -> None:
    need("ale_py", "torch", "stable_baselines3")
    from quarl.train.games import Learning
    from quarl.train.sb3_lanes import Lanes

    lanes = Learning(
        Lanes(EnvRecipe("quarl.envs.atari:quarl/Atari-v0", {"game": "breakout"}, {}), 2)
    )
    lanes.seed(0)
    lanes.reset()
    lives, games = [], 0
    for _ in range(250):  # the fire button alone: every ball is lost
        lanes.step_async(np.array([1, 1]))
        _, signs, ended, infos = lanes.step_wait()
        assert set(signs.tolist()) <= {0.0, 1.0}
        if ended[0]:
            lives.append(infos[0]["lives"])
            games += "episode" in infos[0]
            assert ("terminal_observation" in infos[0]) == (lives[-1] == 5), (
                "only a whole game begins another one"
            )
    assert lives[:6] == [4, 3, 2, 1, 5, 4]
    assert games == lives.count(5)
