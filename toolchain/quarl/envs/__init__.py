"""The environments of quarl. Importing this package registers them with gymnasium:
`gymnasium.make("quarl.envs:quarl/PointToPoint-v0")`.
"""

from gymnasium.envs.registration import register, registry

POINT_TO_POINT = "quarl/PointToPoint-v0"

if POINT_TO_POINT not in registry:
    register(
        id=POINT_TO_POINT,
        entry_point="quarl.envs.point_to_point:PointToPointEnv",
        vector_entry_point="quarl.envs.point_to_point:PointToPointVectorEnv",
    )

DM_CONTROL = "quarl/DmControl-v0"

if DM_CONTROL not in registry:
    register(id=DM_CONTROL, entry_point="quarl.envs.dm_control:make")

ATARI = "quarl/Atari-v0"

if ATARI not in registry:
    register(
        id=ATARI,
        entry_point="quarl.envs.atari:AtariGame",
        vector_entry_point="quarl.envs.atari:AtariLanes",
    )
