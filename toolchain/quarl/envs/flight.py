"""A batch of point-to-point flights among obstacles: the simulation behind `quarl/PointToPoint-v0`.

A drone flies from one side of an arena to a goal on the other side, between spheres and pillars
that it sees only through range beams. The task follows Air Learning (Krishnan et al., Machine
Learning 110, 2021): velocity commands, inertia, goal bonus, collision penalty, progress.
Goes in: one random generator per lane, then actions. Comes out: observations, rewards and how each
flight stands.

Every lane is computed with float32 additions, multiplications, divisions, square roots and
comparisons, each element on its own, so a flight has the same bits in any lane, at any batch size
and on any machine that keeps IEEE 754.
No trigonometry runs after import.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]
Flags: TypeAlias = NDArray[np.bool_]

ARENA_M = (30.0, 30.0, 10.0)
DRONE_RADIUS_M = 0.3
GOAL_RADIUS_M = 1.0
MAX_SPEED_M_S = 4.0
MAX_CLIMB_M_S = 2.0
MAX_YAW_RAD_S = 1.885  # 108 degrees per second, as Air Learning
BEAM_RANGE_M = 8.0
STEP_S = 0.1
MAX_STEPS = 300
GOAL_REWARD = 20.0
COLLISION_REWARD = -20.0
STEP_REWARD = -0.05

SUBSTEPS = 2
SUBSTEP_S = (
    STEP_S / SUBSTEPS
)  # the drone moves at most 0.2 m between two looks for a collision, less than its radius
SPEED_GAIN = 0.117503  # 1 - exp(-SUBSTEP_S / 0.4 s): velocity follows its command with that lag
YAW_GAIN = 0.283469  # 1 - exp(-SUBSTEP_S / 0.15 s)

CLEARANCE_M = 1.5  # no obstacle is closer than this to start or goal
PLACES_TRIED = 6
DEFAULT_OBSTACLES = 24
FAR_M = 1000.0  # where an obstacle goes that found no place

LEVEL_AZIMUTHS_DEG = (
    0,
    10,
    -10,
    20,
    -20,
    35,
    -35,
    50,
    -50,
    70,
    -70,
    90,
    -90,
    120,
    -120,
    150,
    -150,
    180,
)
TILTED_AZIMUTHS_DEG = (0, 20, -20, 45, -45, 90, -90, 180)
TILT_DEG = 25


def _beam_directions() -> Floats:
    """Return unit vectors [beams, 3] in the body frame: forward, left, up."""
    angles = [(azimuth, 0) for azimuth in LEVEL_AZIMUTHS_DEG]
    angles += [
        (azimuth, tilt) for tilt in (TILT_DEG, -TILT_DEG) for azimuth in TILTED_AZIMUTHS_DEG
    ] + [(0, 90), (0, -90)]
    directions = []
    for azimuth_deg, tilt_deg in angles:
        azimuth, tilt = math.radians(azimuth_deg), math.radians(tilt_deg)
        directions.append(
            (math.cos(tilt) * math.cos(azimuth), math.cos(tilt) * math.sin(azimuth), math.sin(tilt))
        )
    return (
        np.array(directions).round(6).astype(np.float32)
    )  # rounded: the last digit of a cosine may differ between machines


BEAMS = _beam_directions()
OBS_LEN = (
    len(BEAMS) + 8
)  # beams; goal forward, left, up, distance; velocity forward, left, up; yaw rate

COMMANDS = np.array(
    [
        (speed, yaw, climb)
        for yaw, climb in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))
        for speed in (0.0, 0.25, 0.5, 0.75, 1.0)
    ],
    np.float32,
)
"""The 25 discrete actions as continuous ones [25, 3]: straight on, left, right, climbing, sinking,
each at five speeds.
"""


@dataclass(frozen=True, slots=True)
class Moved:
    """How the flights stand after a step, one entry a lane."""

    reward: Floats
    success: Flags
    collision: Flags
    timeout: Flags  # out of steps, neither arrived nor crashed


# what a lane is made of: what its steps change, and what its episode keeps
_MOVING = ("steps", "position", "velocity", "heading", "yaw_rate", "distance")
_STANDING = ("goal", "sphere_center", "sphere_radius", "box_center", "box_half")


class Flights:
    """`lanes` flights side by side. Positions in metres: x, y along the ground, z up, the origin in
    a lower corner of the arena.
    """

    def __init__(self, lanes: int, obstacles: int = DEFAULT_OBSTACLES) -> None:
        self.lanes = lanes
        self.spheres = (obstacles + 1) // 2
        self.boxes = obstacles // 2
        self.steps = np.zeros(lanes, np.int32)
        self.position = np.zeros((lanes, 3), np.float32)
        self.velocity = np.zeros((lanes, 3), np.float32)
        self.heading = np.zeros((lanes, 2), np.float32)  # unit vector in the ground plane
        self.yaw_rate = np.zeros(lanes, np.float32)  # rad/s, left is positive
        self.goal = np.zeros((lanes, 3), np.float32)
        self.distance = np.zeros(lanes, np.float32)
        self.sphere_center = np.full((lanes, self.spheres, 3), FAR_M, np.float32)
        self.sphere_radius = np.zeros((lanes, self.spheres), np.float32)
        self.box_center = np.full((lanes, self.boxes, 3), FAR_M, np.float32)
        self.box_half = np.zeros(
            (lanes, self.boxes, 3), np.float32
        )  # half the edges, along x, y, z

    def taken(self, rows: NDArray[np.int64]) -> Flights:
        """Return a copy of these lanes, in this order."""
        part = Flights(0, self.spheres + self.boxes)
        part.lanes = len(rows)
        for name in (*_MOVING, *_STANDING):
            setattr(part, name, getattr(self, name)[rows])
        return part

    def put(self, rows: NDArray[np.int64], part: Flights) -> None:
        """Let these lanes stand where those of `part` do, which flew on from here."""
        for name in _MOVING:
            getattr(self, name)[rows] = getattr(part, name)

    def reset(self, rows: Sequence[int], generators: Sequence[np.random.Generator]) -> None:
        """Start new flights in the lanes `rows`, each drawn from its own generator with one
        call.
        """
        obstacles = self.spheres + self.boxes
        count = 11 + obstacles * 3 * (PLACES_TRIED + 1)
        draws = np.stack([generator.random(count, dtype=np.float32) for generator in generators])
        symmetry, start_draw, goal_draw, heading_draw = (
            draws[:, :3],
            draws[:, 3:6],
            draws[:, 6:9],
            draws[:, 9:11],
        )
        places = draws[:, 11:].reshape(len(rows), obstacles, PLACES_TRIED + 1, 3)
        width, depth, height = ARENA_M
        start = _vector(2.0, 3.0, 2.0) + start_draw * _vector(3.0, depth - 6.0, height - 4.0)
        goal = _vector(width - 5.0, 3.0, 2.0) + goal_draw * _vector(3.0, depth - 6.0, height - 4.0)

        size, tried = places[:, :, 0], places[:, :, 1:]
        half = np.empty_like(size)
        half[:, : self.spheres] = 0.8 + 1.0 * size[:, : self.spheres, :1]
        half[:, self.spheres :] = _vector(0.5, 0.5, 1.5) + size[:, self.spheres :] * _vector(
            1.5, 1.5, 3.5
        )
        center = _vector(4.0, 0.0, 0.5) + tried * _vector(width - 8.0, depth, height - 1.0)
        center[:, self.spheres :, :, 2] = half[
            :, self.spheres :, None, 2
        ]  # boxes are pillars that stand on the ground
        free = np.ones(center.shape[:3], np.bool_)
        for point in (start, goal):
            gap = np.maximum(
                np.abs(point[:, None, None] - center) - half[:, :, None], 0.0
            )  # to the bounding box, less than to a sphere
            free &= _square(gap) > CLEARANCE_M**2
        first = free.argmax(axis=2)
        center = np.take_along_axis(center, first[:, :, None, None], axis=2)[:, :, 0]
        center[~free.any(axis=2)] = FAR_M

        # Flights go along x so far: mirror and swap, so that all four directions of flight are
        # drawn alike.
        mirrored, swapped = symmetry[:, 0] < 0.5, symmetry[:, 1] < 0.5
        for points in (start, goal, center):
            points[mirrored, ..., 0] = width - points[mirrored, ..., 0]
            points[swapped, ..., :2] = points[swapped, ..., 1::-1]
        half[swapped, ..., :2] = half[swapped, ..., 1::-1]

        toward = (goal - start)[:, :2]
        heading = toward / np.sqrt(_square(toward))[:, None] + 1.2 * (heading_draw - 0.5)
        self.heading[rows] = heading / np.sqrt(_square(heading))[:, None]
        self.position[rows] = start
        self.velocity[rows] = 0.0
        self.yaw_rate[rows] = 0.0
        self.steps[rows] = 0
        self.goal[rows] = goal
        self.distance[rows] = np.sqrt(_square(goal - start))
        self.sphere_center[rows] = center[:, : self.spheres]
        self.sphere_radius[rows] = half[:, : self.spheres, 0]
        self.box_center[rows] = center[:, self.spheres :]
        self.box_half[rows] = half[:, self.spheres :]

    def step(self, commands: Floats) -> Moved:
        """Fly all lanes for STEP_S.

        Args:
            commands: [lanes, 3] in -1..1: forward speed, turning rate to the left, climbing speed,
                as shares of their greatest values.
        """
        speed = commands[:, 0] * MAX_SPEED_M_S
        yaw_rate = commands[:, 1] * MAX_YAW_RAD_S
        climb = commands[:, 2] * MAX_CLIMB_M_S
        wanted = np.empty((self.lanes, 3), np.float32)
        wanted[:, 2] = climb
        passed = np.empty((SUBSTEPS, self.lanes, 3), np.float32)
        for substep in range(SUBSTEPS):
            self.yaw_rate += (yaw_rate - self.yaw_rate) * YAW_GAIN
            self._turn(self.yaw_rate * (0.5 * SUBSTEP_S))
            np.multiply(speed[:, None], self.heading, out=wanted[:, :2])
            self.velocity += (wanted - self.velocity) * SPEED_GAIN
            self.position += self.velocity * SUBSTEP_S
            passed[substep] = self.position
        collision = np.asarray(self._touches_at(passed).any(axis=0))
        self.steps += 1
        before, self.distance = self.distance, np.sqrt(_square(self.goal - self.position))
        success = (self.distance < GOAL_RADIUS_M) & ~collision
        timeout = (self.steps >= MAX_STEPS) & ~collision & ~success
        reward = before - self.distance + STEP_REWARD
        reward += success * np.float32(GOAL_REWARD) + collision * np.float32(COLLISION_REWARD)
        return Moved(reward, success, collision, timeout)

    def observe(self) -> Floats:
        """Return observations [lanes, OBS_LEN] in the body frame: metres, metres per second,
        radians per second.
        """
        obs = np.empty((self.lanes, OBS_LEN), np.float32)
        beams = len(BEAMS)
        for first in range(0, self.lanes, 64):  # so many lanes at a time stay in the cache
            rows = slice(first, first + 64)
            obs[rows, :beams] = self._ranges(rows)
        cos, sin = self.heading[:, 0], self.heading[:, 1]
        for column, vector in ((beams, self.goal - self.position), (beams + 4, self.velocity)):
            obs[:, column] = vector[:, 0] * cos + vector[:, 1] * sin
            obs[:, column + 1] = vector[:, 1] * cos - vector[:, 0] * sin
            obs[:, column + 2] = vector[:, 2]
        obs[:, beams + 3] = self.distance
        obs[:, beams + 7] = self.yaw_rate
        return obs

    def beam_directions(self, rows: slice) -> Floats:
        """Return the beams' unit vectors in the arena's frame [3, rows, beams]: x, y and z."""
        cos, sin = self.heading[rows, 0, None], self.heading[rows, 1, None]
        directions = np.empty((3, len(cos), len(BEAMS)), np.float32)
        np.subtract(cos * BEAMS[:, 0], sin * BEAMS[:, 1], out=directions[0])
        np.add(sin * BEAMS[:, 0], cos * BEAMS[:, 1], out=directions[1])
        directions[2] = BEAMS[:, 2]
        return directions

    def _turn(self, half_angle: Floats) -> None:
        """Rotate the headings by 2 atan(half_angle), which needs no sine: (1 + i t)^2 / |1 + i
        t|^2.
        """
        cos, sin = self.heading[:, 0], self.heading[:, 1]
        square = half_angle * half_angle
        scale, same, turn = 1.0 / (1.0 + square), 1.0 - square, 2.0 * half_angle
        turned_cos = (same * cos - turn * sin) * scale
        turned_sin = (same * sin + turn * cos) * scale
        length = np.sqrt(
            turned_cos * turned_cos + turned_sin * turned_sin
        )  # keeps rounding from piling up
        np.divide(turned_cos, length, out=cos)
        np.divide(turned_sin, length, out=sin)

    def touches(self) -> Flags:
        """Return whether each drone touches an obstacle, a wall, the ground or the ceiling."""
        return np.asarray(self._touches_at(self.position[None])[0])

    def _touches_at(self, places: Floats) -> Flags:
        """Return whether a drone touches something at each of its places [n, lanes, 3]: [n,
        lanes].
        """
        at = places[:, :, None]
        to_sphere = _square(self.sphere_center - at) < np.square(
            self.sphere_radius + DRONE_RADIUS_M
        )
        to_box = (
            _square(np.maximum(np.abs(self.box_center - at) - self.box_half, 0.0))
            < DRONE_RADIUS_M**2
        )
        outside = (places < _INNER_LOW) | (places > _INNER_HIGH)
        return np.asarray(to_sphere.any(axis=2) | to_box.any(axis=2) | outside.any(axis=2))

    def _ranges(self, rows: slice) -> Floats:
        """Return how far each beam reaches [rows, beams], at most BEAM_RANGE_M."""
        directions = self.beam_directions(rows)
        inverse = np.reciprocal(np.where(np.abs(directions) < 1e-6, np.float32(1e-6), directions))
        position = self.position[rows].T[:, :, None]
        walls = np.maximum(-position * inverse, (_ARENA[:, None, None] - position) * inverse)
        nearest = np.minimum(walls.min(axis=0), np.float32(BEAM_RANGE_M))
        to_sphere = self.sphere_center[rows] - self.position[rows, None]
        radius = self.sphere_radius[rows]
        row, one = _within_reach(to_sphere, radius[:, :, None])
        if row.size:
            reached = _sphere_ranges(to_sphere[row, one], radius[row, one], directions[:, row])
            _keep_nearest(nearest, row, reached)
        to_box, half = self.box_center[rows] - self.position[rows, None], self.box_half[rows]
        row, one = _within_reach(to_box, half)
        if row.size:
            reached = _box_ranges(to_box[row, one], half[row, one], inverse[:, row])
            _keep_nearest(nearest, row, reached)
        return np.asarray(np.maximum(nearest, np.float32(0), out=nearest))


def _within_reach(to_center: Floats, half: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows and numbers of the obstacles that a beam can meet, in the order of the rows; the
    others change no range. `half` is half the bounding box, to_center [rows, obstacles, 3].
    """
    gap = np.maximum(np.abs(to_center) - half, np.float32(0))
    row, one = np.nonzero(_square(gap) < (BEAM_RANGE_M + 0.1) ** 2)
    return row, one


def _keep_nearest(nearest: Floats, row: NDArray[np.int64], reached: Floats) -> None:
    """Shorten ranges [rows, beams] to those that obstacles leave [n, beams], which belong to these
    rows, in their order.
    """
    first = np.flatnonzero(np.diff(row, prepend=-1))
    met = row[first]
    nearest[met] = np.minimum(nearest[met], np.minimum.reduceat(reached, first, axis=0))


def _sphere_ranges(to_center: Floats, radius: Floats, directions: Floats) -> Floats:
    """Return how far beams reach [n, beams] to a sphere each: centres [n, 3], radii [n], unit
    vectors [3, n, beams].
    """
    shares = to_center.T[:, :, None] * directions
    along = shares[0] + shares[1]
    along += shares[2]
    inside = along * along
    inside -= (_square(to_center) - np.square(radius))[:, None]
    miss = inside < 0.0
    miss |= along < 0.0
    np.maximum(inside, 0.0, out=inside)
    along -= np.sqrt(inside, out=inside)
    along[miss] = FAR_M
    return np.asarray(along)


def _box_ranges(to_center: Floats, half: Floats, inverse: Floats) -> Floats:
    """Return how far beams reach [n, beams] to a box each: centres [n, 3], half the edges [n, 3],
    one over the beams' unit vectors [3, n, beams].
    """
    middle = to_center.T[:, :, None] * inverse
    reach = half.T[:, :, None] * np.abs(inverse)
    enter = (middle - reach).max(axis=0)
    leave = np.add(middle, reach, out=middle).min(axis=0)
    miss = leave < enter
    miss |= enter < 0.0
    enter[miss] = FAR_M
    return np.asarray(enter)


def _vector(x: float, y: float, z: float) -> Floats:
    return np.array((x, y, z), np.float32)


_ARENA = _vector(*ARENA_M)
_INNER_LOW, _INNER_HIGH = np.float32(DRONE_RADIUS_M), _ARENA - DRONE_RADIUS_M


def _square(vectors: Floats) -> Floats:
    """Return the squared lengths of vectors [..., 2 or 3], added in a fixed order."""
    total = vectors[..., 0] * vectors[..., 0] + vectors[..., 1] * vectors[..., 1]
    if vectors.shape[-1] == 3:
        total += vectors[..., 2] * vectors[..., 2]
    return np.asarray(total)
