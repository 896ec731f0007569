# SPDX-License-Identifier: Apache-2.0
"""Package of the node."""

from setuptools import setup

setup(
    name="quarl_policy_node",
    version="0.2.0",
    packages=["quarl_policy_node"],
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/quarl_policy_node"]),
        ("share/quarl_policy_node", ["package.xml"]),
    ],
    install_requires=["setuptools"],
    entry_points={"console_scripts": ["policy = quarl_policy_node.node:main"]},
)
