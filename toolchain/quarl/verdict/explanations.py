"""What each check of the gate means, how its limit was chosen, and what to do where it fails: the
words of `quarl gate --explain`.

In: the name of a check. Out: its `Explanation`. One entry for each check, or for a family of checks
that differ by what is checked.
The reasons at length: toolchain/docs/gate.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from quarl.errors import InputError
from quarl.files.tables import did_you_mean


@dataclass(frozen=True, slots=True)
class Explanation:
    """One check, or one family of checks, in words."""

    name: str  # of the check; a trailing * stands for what the members of a family differ by
    meaning: str
    limit: str  # how it was chosen, and the key of [gate] that sets it
    remedy: str

    def covers(self, check: str) -> bool:
        """Whether a check of that name is explained here."""
        return check.startswith(self.name[:-1]) if self.name.endswith("*") else check == self.name


EXPLANATIONS: tuple[Explanation, ...] = (
    Explanation(
        "import_error",
        "How far the imported float graph is from the framework the policy was trained in, on "
        "the same observations: the largest absolute"
        " difference of an output.",
        "max_import_error, 1e-5 by default: float32 sums of this size added up in another "
        "order differ by 1e-7 to 1e-6, a wrong layout or"
        " normaliser by 0.1 and more. Without the framework (or without --trust, where "
        "loading runs code) nothing is proven and nothing"
        " judged, unless require_import_proof = true.",
        "Check --env, the normaliser (--obs-norm) and the layout of images. If they are "
        "right, the importer is wrong: report it.",
    ),
    Explanation(
        "equality_*",
        "How many outputs of this runtime or firmware differ from the integer reference, on "
        "the bundle's own held-out observations.",
        "Always 0. One arithmetic holds on every target, so a single differing integer is a "
        "defect, never a tolerance: backends in [gate]"
        " says which must be compared.",
        "The file was changed after the export, or the runtime's version computes differently "
        "(quarl doctor). Export again; a difference"
        " that stays is a bug.",
    ),
    Explanation(
        "example_outputs",
        "The bundle's example played again from its integers: outputs that differ from those "
        "recorded at the export.",
        "Always 0: same integers, same answers.",
        "policy.npz or example.npz was changed after the export. Export again.",
    ),
    Explanation(
        "files_unchanged",
        "Files that are not those the manifest lists, by SHA-256, or that it does not list; and "
        "evidence that was "
        "gathered on another export.",
        "Always 0: what was judged must be what is released.",
        "Export again, then profile and parity. If nobody touched the files, the copy is damaged.",
    ),
    Explanation(
        "signature",
        "Whether a key that you trust (--trusted-key) has signed every file of the bundle, the "
        "evidence too, as it lies there: then its holder says that he measured this.",
        "At least 1 signature, of any one of the keys; asked for only where a key is given.",
        "Have the job that measured sign the bundle: quarl sign BUNDLE --key KEY. A file that was "
        "changed since needs a new measurement and a new signature.",
    ),
    Explanation(
        "files_consistent",
        "Whether the files of the bundle speak of one policy: contract, digest of the source, rung "
        "and number of example observations are the same in the manifest, the policies and the "
        "artifacts; a policy without source.npz came as an int8 file.",
        "Always 0 contradictions: an export writes none.",
        "Files of different exports lie in one bundle, or somebody edited it. Export again.",
    ),
    Explanation(
        "evidence_consistent",
        "Whether the evidence is of this bundle: episodes in the manifest's environment, on the "
        "seeds of the plan, each once; source and int8 compared again on the example decide as "
        "the evidence says.",
        "Always 0 contradictions. Episodes of another environment, played with --env, do not "
        "count for a bundle that names its own.",
        "Run quarl parity again, without --env.",
    ),
    Explanation(
        "calibration_episodes",
        "How many episodes the observations come from that every range was taken from.",
        "min_calibration_episodes, 8 by default: of the shipped policies, those calibrated on "
        "one episode lost up to half of their return."
        " Not judged where the file of observations does not say which episode each belongs to.",
        "Omit --calibration, so that quarl plays 40 episodes, or record more of them, "
        "with an array `episode` in the file.",
    ),
    Explanation(
        "clipped_inputs",
        "Share of the observation values met in the paired episodes, or held out where nothing "
        "is played, that lie outside what the quantised input can say.",
        "Shown only where episodes are played: rare extremes may be clipped without harm. Much "
        "above 0.1 % the calibration does not cover what the policy meets. 1 % where no "
        "environment is known.",
        "Calibrate on more and more varied episodes.",
    ),
    Explanation(
        "source_return",
        "Whether the source itself plays as it is known to: without that, int8 may equal a "
        "policy that nobody wants.",
        "source_return in [gate], by default the score of the recipe. It fails only where the "
        "source certainly (99.9 %) misses it by more"
        " than the margin.",
        "The normaliser (--obs-norm), the environment or its arguments are others than in "
        "training, or the weights are.",
    ),
    Explanation(
        "action_agreement",
        "Share of the held-out observations on which source and int8 choose the same action.",
        "min_agreement; none by default, because agreement says little about the return: 35 % "
        "has gone with a better return and 94 % with a"
        " loss of a fifth. A recipe sets it a little below what its rung reaches, as an early "
        "alarm.",
        "See where the loss sits (below a failed verdict, or `why` in verdict.json). A higher "
        "rung or a calibration on more episodes.",
    ),
    Explanation(
        "action_error",
        "Mean absolute difference of the actions of source and int8, as a share of the action "
        "range.",
        "max_action_error; none by default, for the same reason as with action_agreement.",
        "See where the loss sits. A higher rung (wide input and wide activations help box "
        "actions most), or a better calibration.",
    ),
    Explanation(
        "weighted_agreement",
        "Share of what is at stake that int8 keeps: each held-out decision weighs the gap between "
        "the source's best two actions, so that a tie costs nothing.",
        "min_weighted_agreement; none by default where episodes are played, 0.98 where no "
        "environment is known.",
        "As with action_agreement.",
    ),
    Explanation(
        "worst_action_error",
        "The largest difference of one action value on any held-out observation, as a share of "
        "its range.",
        "max_worst_action_error; none by default where episodes are played, 0.1 where no "
        "environment is known.",
        "See the decisions that differ most (parity.json, `worst`). A higher rung, or calibration "
        "on the situations around them.",
    ),
    Explanation(
        "worst_decision",
        "What is at stake in the decision that loses most, where no environment is known: the gap "
        "that the source's outputs set between its action and that of int8.",
        "Shown only: the scale of the outputs is the policy's own.",
        "Look at that observation (parity.json, `worst`).",
    ),
    Explanation(
        "state_drift",
        "How far the state of a recurrent policy in int8 is from its source's after 500 steps, "
        "both on the same observations and each carrying its own, as a share of the state's range.",
        "None: the return decides. A drift that grows with the steps says that small changes of "
        "the state are lost.",
        "Calibrate on whole episodes, as long as those the policy will meet.",
    ),
    Explanation(
        "decisions",
        "On how many held-out observations source and int8 decided, where no environment is known: "
        "the verdict then rests on decisions only.",
        "200. Decisions say less than episodes: a small error may be steered against, or add up.",
        "Record more observations of the policy at work, or name its environment (--env ID).",
    ),
    Explanation(
        "source_comparison",
        "The policy came as an int8 file: there is no full-precision source it could be "
        "compared with.",
        "Not judged. min_agreement and max_action_error then ask for what is not possible, and "
        "fail.",
        "Import the policy from its training framework where you can.",
    ),
    Explanation(
        "int8_return",
        "The mean return of a policy that came as an int8 file, over its own episodes.",
        "Not judged: nothing is there to compare it with.",
        "Compare it with what the policy is known to reach.",
    ),
    Explanation(
        "mean_return",
        "How much of the mean return int8 may have lost, at most, with the stated confidence: "
        "source and int8 play the same seeds, and the"
        " most careful of three bounds of the mean difference counts (t, t corrected for "
        "skewness, BCa bootstrap). Where the episodes"
        " stopped early, the bound also makes room for losses too rare to have been met.",
        "margin times (mean return of the source minus random_return). 2 to 3 % is what a "
        "change of the training seed hides; a policy that"
        " earns its keep by its last percent needs less, and more episodes. alpha = 0.05 over "
        "all looks together.",
        "A loss seen: a higher rung, or a better calibration. A loss not seen but not "
        "excluded: more episodes (the advice says how many)."
        " If the control moves as well, the environment is chaotic at this margin.",
    ),
    Explanation(
        "failure_rate",
        "By how many points the share of failed episodes may have risen, at most, with the "
        "stated confidence; exact, paired. Means hide"
        " this: a policy has kept its mean while one episode in eleven stopped reaching the goal.",
        "failure_margin, 2 points by default; what fails is said by failure and "
        "failure_return. 1 point costs 299 flawless episodes,"
        " 3 points 99.",
        "See which seeds fail only with int8 (parity.json, `paired`) and replay them. A "
        "higher rung, or calibration on the situations"
        " before the failure.",
    ),
    Explanation(
        "low_quantile",
        "How much worse the worst tenth of the episodes has certainly become.",
        "The margin of the mean. It fails only where a loss beyond that is certain, since a "
        "tenth of the episodes cannot prove more.",
        "The bad episodes have become worse: as with failure_rate.",
    ),
    Explanation(
        "equivalence",
        "Whether gains are excluded as well as losses: two one-sided tests (TOST) against the "
        "margin of the mean, up and down.",
        "Shown only; equivalence = true makes it count. A policy that gained was changed too, "
        "but few releases mind.",
        "Find out why int8 plays differently: often an episode's course that rounding tips over.",
    ),
    Explanation(
        "rank_test",
        "The shift of the paired returns that a few extreme episodes cannot move "
        "(Hodges-Lehmann), with Wilcoxon's signed ranks.",
        "Shown only: it would pass a policy that ruins one episode in fifty.",
        "Where it differs from mean_return, few episodes make the difference: look at the tail.",
    ),
    Explanation(
        "interquartile_mean",
        "How much the mean of the middle half of the returns fell.",
        "Shown only, for comparison with published scores.",
        "As with rank_test.",
    ),
    Explanation(
        "control",
        "How far the source itself moves when it is computed in float64: chaos of the "
        "environment, which no int8 can be finer than.",
        "Not judged; where it hides the margin the other checks begin with 'Chaos'.",
        "Play more episodes, give a larger margin, or allow a share of the control's own spread "
        "(chaos_margin): int8 is not what moves the return.",
    ),
    Explanation(
        "tries",
        "Which candidate of a ship this is, and what the gate refused of those before it.",
        "Not judged. All tries share alpha: the first uses half of it, each further one half of "
        "what the one before it uses, on seeds of its own, so that all of them together pass "
        "wrongly with a probability of alpha at most.",
        "Nothing needs to be done. quarl show BUNDLE and the report list every candidate.",
    ),
    Explanation(
        "robustness",
        "Source and int8 under disturbed observations: asked for and not played.",
        "robustness_margin, none by default.",
        "Run quarl parity BUNDLE --robustness.",
    ),
    Explanation(
        "robust_*",
        "How much int8 loses against its source when both see the same disturbed "
        "observations: noise of 2 % of each feature's spread,"
        " 5 % of the observations dropped (the last one is seen again), or every observation "
        "one step late.",
        "robustness_margin times (mean return of the source minus random_return); without it "
        "shown only. Twice the margin of the mean is a"
        " sensible start, since a hundred episodes prove no less.",
        "int8 has less reserve than its source: a higher rung. If both lose a lot, the policy "
        "itself was not trained for it.",
    ),
    Explanation(
        "budget_firmware_flash_bytes",
        "The whole image: code, weights, tables and the harness.",
        "The board's flash (targets/<board>/board.toml), or budgets in [gate] where your "
        "application needs some of it.",
        "A narrower policy, a lower rung, or a larger board. The profile lists the bytes of "
        "each layer.",
    ),
    Explanation(
        "budget_firmware_ram_bytes",
        "Variables, the arena of all tensors, and the deepest stack that was seen.",
        "The board's RAM, or budgets in [gate].",
        "A narrower widest layer: the arena holds two neighbouring tensors at a time.",
    ),
    Explanation(
        "budget_firmware_stack_bytes",
        "The deepest stack that was seen while the firmware acted, in the emulator.",
        "budgets in [gate]; the board's RAM limits it together with the variables.",
        "Give the linker script more stack; kernels have no recursion and no arrays of "
        "variable length.",
    ),
    Explanation(
        "budget_firmware_latency_us",
        "The time of one decision at the board's clock: an estimate by a cycle model from "
        "exact instruction counts, taken at its high end."
        " It is not a measurement.",
        "The control period, 1e6 / step_hz of the contract, wherever the firmware was "
        "profiled: a decision that comes later is too late."
        " Give less in budgets where other work needs the core.",
        "A lower rung or a narrower policy, a faster board, or a lower control rate. Below a "
        "tenth to spare, measure on the board.",
    ),
    Explanation(
        "budget_firmware_instructions",
        "Instructions of one decision, counted in an emulator: the same on every run.",
        "None by itself; a baseline holds it exactly.",
        "See regression_*.",
    ),
    Explanation(
        "budget_*",
        "A figure of the profile or the size of an artifact, with how it was made: exact, "
        "measured on this machine, emulated or estimated.",
        "budgets in [gate], by the figure's name; a figure without a budget is shown, and can "
        "be held by a baseline.",
        "A narrower policy or a lower rung; for measured times a quiet machine, since they "
        "belong to the host they were measured on.",
    ),
    Explanation(
        "regression_*",
        "The same check in a release that was accepted before (quarl baseline set): whether "
        "it is still made, passes and is not worse.",
        "Exact and emulated figures may not be worse at all, nor estimates made from them; "
        "measured ones by 10 %, or three times what the"
        " rounds of one run differ by, on the same machine only. Tested bounds are held by "
        "their own limits, since they move with the"
        " episodes.",
        "Find the change that made it worse: kernels, compiler and rung are in the manifest. "
        "Accept it with quarl baseline set BUNDLE.",
    ),
)


def explain(check: str) -> Explanation:
    """Return the explanation of a check by its name.

    Raises:
        InputError: no check has that name; says what it may mean.
    """
    for entry in EXPLANATIONS:
        if entry.covers(check) or check == entry.name:
            return entry
    names = [entry.name for entry in EXPLANATIONS]
    raise InputError(
        f"--explain {check}: no check has this name{did_you_mean(check, names)}; all of them: "
        f"{', '.join(names)}"
    )
