"""Every attack that once worked, and the test that stops it now. The rows are those of a list that
was made by attacking an early version of quarl; each test fails on that version.

| row | attack |
|---|---|
| 1 | `--out` at a folder with any manifest.json: the folder was deleted |
| 2 | a digest in a bundle closes a C string: its code was compiled and run |
| 3 | an environment that calls `sys.exit()`: exit code 0 without a verdict |
| 4 | a link in the place of a scratch file: any file was overwritten |
| 5 | forged releases: 21 of 33 passed |
| 6 | links to devices, pipes: endless reads |
| 7 | a user's own limits: every HDF5 file was blamed |
| 8 | small files that ask for gigabytes |
| 9 | two writers of one file |
| 10 | defects of quarl ended like the gate's no |
| 11 | names that give orders to terminals, CI services, Markdown, HTML |
| 12 | a kill between two renames: no bundle under its name |
| 13 | a verdict of another bundle |
| 14 | documents with wrong types and values: tracebacks |
| 15 | an environment that prints into `--json` |
| 16 | an environment of another shape: broadcast |
| 17 | a damaged cache of firmware: used |
| 18 | zips with bad names and negative seeks |
| 19 | artifacts that break LiteRT, or fill the memory |
| 20 | weights that overflow the integers |
| 21 | an edited history |
| 22 | a bundle that others may read against the umask |
| 23 | `--out` that is a link |
| 24 | a server that sends a byte now and then |
| 25 | a profile that is ended leaves its folder behind |
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
STOPPED_BY: dict[int, tuple[str, ...]] = {
    1: (
        "bundle/test_bundle.py::test_a_foreign_folder_with_a_manifest_of_its_own_is_never_touched",
        "bundle/test_bundle.py"
        "::test_a_bundle_that_holds_anything_else_is_kept_and_the_first_stranger_is_named",
    ),
    2: (
        "files/test_text.py::test_what_is_no_digest_is_refused",
        "bundle/test_bundle.py::test_a_digest_that_is_none_is_refused_wherever_the_manifest_has_one",
        "firmware/test_c_text.py::test_a_hostile_digest_or_layer_name_adds_nothing_to_the_c_text",
    ),
    3: (
        "rollouts/test_foreign_env.py::test_an_environment_that_leaves_is_refused_and_named",
        "e2e/test_exit_codes.py::test_an_environment_that_leaves_is_bad_input",
        "e2e/test_exit_codes.py::test_a_module_that_leaves_when_it_is_imported_is_bad_input",
        "e2e/test_exit_codes.py::test_an_environment_that_ends_the_process_is_no_success",
    ),
    4: ("files/test_atomic.py::test_a_link_that_lies_in_wait_is_not_written_through",),
    5: ("verdict/test_forgeries.py",),
    6: (
        "files/test_open.py::test_a_pipe_is_refused_and_not_waited_for",
        "files/test_open.py::test_a_device_behind_a_link_is_refused",
        "files/test_open.py::test_a_link_in_the_place_of_a_member_is_refused",
        "files/test_open.py::test_a_file_whose_size_is_a_lie_is_read_no_further_than_the_bound",
    ),
    7: (
        "importers/test_hdf5_limits.py::test_a_hard_limit_of_the_user_is_kept_and_the_file_is_read",
        "importers/test_hdf5_limits.py::test_a_process_that_cannot_start_does_not_blame_the_file",
    ),
    8: (
        "files/test_toml.py::test_the_widest_file_within_the_bounds_is_read_in_little_memory",
        "importers/test_small_files.py::test_a_small_onnx_file_is_refused_in_little_memory",
        "importers/test_small_files.py"
        "::test_a_small_file_of_observations_is_refused_in_little_memory",
        "importers/test_small_files.py::test_more_episodes_than_memory_holds_are_refused",
    ),
    9: ("files/test_atomic.py::test_two_writers_never_show_half_of_a_file",),
    10: (
        "e2e/test_exit_codes.py::test_a_defect_is_70_with_a_traceback_and_how_to_report_it",
        "e2e/test_exit_codes.py::test_a_full_disk_behind_standard_output_is_no_success",
        "e2e/test_history.py::test_a_plot_is_drawn_in_a_locale_without_its_signs",
        "files/test_open.py::test_a_name_too_long_for_the_system_is_named",
    ),
    11: (
        "files/test_text.py::test_a_terminal_gets_lines_and_no_orders",
        "verdict/test_hostile_names.py::test_every_output_is_well_formed_and_gives_no_orders",
        "reports/test_hostile_text.py::test_a_page_holds_no_markup_of_a_name",
    ),
    12: (
        "files/test_folder.py::test_a_kill_at_any_point_leaves_the_old_folder_or_the_new_one",
        "bundle/test_bundle.py"
        "::test_a_bundle_whose_writer_was_killed_between_two_renames_is_found_again",
        "kill/test_kill.py::test_what_is_killed_leaves_the_old_state_or_the_new_one",
    ),
    13: ("verdict/test_forgeries.py",),
    14: (
        "bundle/test_policy_file.py"
        "::test_a_document_with_anything_exchanged_is_read_or_refused_but_never_crashes",
        "fuzz/test_fuzz.py::test_a_mutated_file_is_read_or_refused",
    ),
    15: ("e2e/test_exit_codes.py::test_what_an_environment_prints_is_not_on_standard_output",),
    16: (
        "rollouts/test_foreign_env.py"
        "::test_an_answer_of_another_shape_or_type_is_refused_and_named",
        "rollouts/test_foreign_env.py"
        "::test_an_observation_is_cast_where_nothing_is_lost_and_never_broadcast",
    ),
    17: ("firmware/test_build_cache.py::test_a_damaged_image_is_built_again",),
    18: ("fuzz/test_fuzz.py::test_what_was_kept_is_read_or_refused",),
    19: (
        "runtimes/test_apart.py::test_a_process_that_ends_or_hangs_is_named",
        "runtimes/test_apart.py::test_whatever_is_raised_is_one_error_and_prints_are_no_answers",
    ),
    20: (
        "graph/test_quant_policy.py"
        "::test_a_tensors_integers_fit_int32_before_anything_is_computed_with_them",
    ),
    21: (
        "verdict/test_history_edited.py::test_any_value_in_any_column",
        "verdict/test_history_edited.py::test_tables_that_are_not_ours_are_refused",
    ),
    22: ("files/test_folder.py::test_permissions_are_those_of_the_umask",),
    23: ("bundle/test_bundle.py::test_a_link_to_a_folder_is_resolved_and_one_to_nothing_refused",),
    24: ("sources/test_weights.py::test_a_server_that_sends_a_byte_now_and_then_is_cut_off",),
    25: ("e2e/test_exit_codes.py::test_a_profile_that_is_ended_leaves_nothing",),
}


@cache
def functions(path: Path) -> frozenset[str]:
    nodes = ast.walk(ast.parse(path.read_text()))
    return frozenset(node.name for node in nodes if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("row", STOPPED_BY)
def test_the_tests_of_a_row_are_there(row: int) -> None:
    for test in STOPPED_BY[row]:
        file, _, name = test.partition("::")
        assert (TESTS / file).is_file(), test
        assert not name or name in functions(TESTS / file), test


def test_every_row_has_its_tests() -> None:
    assert __doc__ is not None
    assert [int(row) for row in re.findall(r"^\| (\d+) \|", __doc__, re.MULTILINE)] == list(
        STOPPED_BY
    )
