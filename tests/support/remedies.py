"""What the messages of a room advise: every clause in its code that tells the reader to do
something.

In: the room's source. Out: clauses, such as "export it with float32", each up to its first value.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import quarl

VERBS = (
    "add|ask|build|call|change|check|concatenate|convert|copy|distil|export|fetch|flatten|give|"
    "import|install|keep|load|omit|pip install|put|read|record|remove|rename|restore|retrain|run|"
    "save|say|see|set|slice|start|state|take|train|try|use|wrap|write|torch\\.\\w+|model\\.\\w+"
)
CLAUSE = re.compile(rf"(?:^|: |, |; |\. |\(|\bor )((?:{VERBS})\b[^:;,.(){{]*)", re.IGNORECASE)
VALUE = "{"  # stands for what a message fills in


def clauses_in(room: str) -> dict[str, set[str]]:
    """Return clauses -> the modules that print them."""
    found: dict[str, set[str]] = {}
    root = Path(quarl.__file__).parent / room
    for file in sorted(root.rglob("*.py")):
        for text in _messages(ast.parse(file.read_text())):
            for match in CLAUSE.finditer(text):
                clause = " ".join(match[1].split())
                found.setdefault(clause, set()).add(str(file.relative_to(root)))
    return found


def docstrings_of(tree: ast.AST) -> set[int]:
    """Return the identities of the nodes that are docstrings."""
    return {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }


def _messages(tree: ast.AST) -> Iterator[str]:
    """Yield the texts that become messages: no docstrings, no single words."""
    docs = docstrings_of(tree)
    inside = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in ast.walk(node)
        if part is not node
    }
    for node in ast.walk(tree):
        if id(node) in docs or id(node) in inside:
            continue
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else VALUE for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.value


IMPORTS, SOURCES = "tests/importers/test_", "tests/sources/test_"
EXTRAS = f"{SOURCES}remedies.py::test_packages_are_installed_by_extras_that_exist"
# clauses that no test quotes as they stand -> the test that does what they say
DONE = {
    "Export the policy to ONNX with torch": f"{IMPORTS}sb3_route.py::"
    "test_the_lines_printed_write_a_file_that_acts_as_the_agent",
    "add --activation elu": f"{IMPORTS}remedies.py::"
    "test_following_what_is_said_of_a_bare_state_dict_leads_to_a_policy",
    "add --output NAME": f"{IMPORTS}chainer.py::test_of_several_networks_one_is_asked_for",
    "add --trust to load the file with": f"{SOURCES}source.py::"
    "test_only_quarls_own_files_are_loaded_by_their_framework_unasked",
    "check the network and": f"{SOURCES}weights.py::test_a_server_that_is_not_there_is_named",
    "convert it to full-integer int8": f"{IMPORTS}remedies_keras.py::"
    "test_a_tflite_is_converted_as_advised",
    "export its source again": f"{IMPORTS}tflite.py::"
    "test_a_vector_file_of_ours_is_refused_since_its_observation_scales_are_in_the_bundle",
    "export the model in evaluation mode": f"{IMPORTS}remedies_tried.py::"
    "test_a_network_in_training_mode_is_exported_in_evaluation_mode",
    "give a file": "tests/test_api.py::test_a_model_and_an_environment_in_memory",
    "give env": "tests/test_api.py::test_a_torch_module_with_its_spaces_and_observations",
    "give the file written by VecNormalize": f"{SOURCES}normalizer_file.py::"
    "test_the_conversion_normalises_as_vecnormalize_does",
    "import the policy with --no-obs-norm": f"{IMPORTS}remedies_agents.py::"
    "test_one_of_two_words_on_the_normaliser_is_kept",
    "load it in its framework and save the state dict": f"{IMPORTS}remedies_tried.py::"
    "test_of_a_pickled_agent_the_state_dict_is_saved",
    "load it in its framework and save the state dict with torch": f"{IMPORTS}remedies_tried.py::"
    "test_of_a_pickled_agent_the_state_dict_is_saved",
    "load the weights into it and save it": f"{IMPORTS}remedies_keras.py::"
    "test_the_weights_of_a_class_are_loaded_into_a_functional_model",
    "omit it with [qat]": "tests/train/test_quantised.py::test_a_wrong_table_is_refused_by_its_key",
    "pip install 'quarl[hub]'": EXTRAS,
    "pip install 'quarl[sb3]'": EXTRAS,
    "pip install 'quarl[tf]'": EXTRAS,
    "pip install quarl[lerobot]": EXTRAS,
    "pip install quarl[minari]": EXTRAS,
    "put the trainer's": f"{IMPORTS}trainers.py::"
    "test_what_the_file_does_not_say_is_asked_for_and_found_beside_it",
    "remove the file to quantise after training": "tests/train/test_quantised.py::"
    "test_integers_of_other_weights_are_refused",
    "save the model as": f"{IMPORTS}keras.py::test_a_saved_model_computes_what_keras_computes",
    "say --no-obs-norm if only rewards were normalised": f"{IMPORTS}remedies_agents.py::"
    "test_one_of_two_words_on_the_normaliser_is_kept",
    "say --no-obs-norm if the script was run without it": f"{IMPORTS}cleanrl.py::"
    "test_continuous_ppo_needs_a_word_on_its_normaliser",
    "say --no-obs-norm if they were not": f"{IMPORTS}remedies_agents.py::"
    "test_one_of_two_words_on_the_normaliser_is_kept",
    "say --observation": f"{IMPORTS}picture_inputs.py::"
    "test_what_becomes_of_the_bytes_of_a_picture_is_asked_where_nobody_says_it",
    "see ulimit -v": f"{IMPORTS}hdf5_limits.py::"
    "test_a_hard_limit_of_the_user_is_kept_and_the_file_is_read",
    "set stateful=True": f"{IMPORTS}remedies_tried.py::"
    "test_a_recurrent_layer_that_forgets_is_given_its_state",
    "state them": f"{IMPORTS}cleanrl.py::test_without_stored_bounds_the_environment_gives_them",
    "train the policy again": "tests/train/test_quantised.py::"
    "test_the_folder_ships_the_integers_that_were_trained",
    "try again": f"{SOURCES}weights.py::"
    "test_a_file_is_fetched_once_with_progress_and_then_comes_from_the_cache",
    "try again when less runs": f"{IMPORTS}hdf5_limits.py::"
    "test_a_machine_that_is_too_busy_is_not_taken_for_a_damaged_file",
    "use the bundle": f"{IMPORTS}tflite.py::"
    "test_a_vector_file_of_ours_is_refused_since_its_observation_scales_are_in_the_bundle",
    "write it with Keras' own layers alone": f"{IMPORTS}remedies_keras.py::"
    "test_a_model_is_built_as_advised",
}
# what the tests cannot do, with the reason
NOT_DONE = {
    "convert a dense model without state": "the converter writes such files for other networks",
    "convert a model whose images have their channels last": "TensorFlow's CPU has no other",
    "convert it again": "the damage is made by hand; a whole file is read in every test",
    "convert it without control flow": "another network",
    "convert the model with such an input": "another network",
    "export it with its shape": "another network",
    "export the model for inference": "model.export of Keras always does",
    "export the policy again": "the damage is made by hand",
    "fetch it with minari download": "the tests fetch nothing",
    "give --env ID to play": "done by every test that ships with --env",
    "give another data set": "no writer of Minari makes an empty one",
    "record some": "no writer of Minari makes an empty one",
    "restore it where RLlib is installed and write ONNX with Algorithm": "RLlib is not installed",
    "slice each axis by itself": "another network",
    "use built-in operators": "another network",
}
# texts that begin like advice and are none
NAMES = {"call module", "model.export", "start=", "state", "state dict", "state input/", "read"}
