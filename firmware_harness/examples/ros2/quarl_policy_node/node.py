# SPDX-License-Identifier: Apache-2.0
"""The node: the newest observation of one topic becomes an action on another, at a fixed rate."""

import rclpy
from rclpy.node import Node
from std_msgs.msg import Float32MultiArray

from quarl_policy_node.policy import Policy

DEFAULT_HZ = 50.0


class PolicyNode(Node):
    """One policy between two topics."""

    def __init__(self):
        super().__init__("quarl_policy")
        for name, value in (("library", ""), ("contract", ""), ("rate_hz", 0.0), ("stale_s", 0.25)):
            self.declare_parameter(name, value)
        self._policy = Policy(self._value("library"), self._value("contract"))
        self._stale_s = self._value("stale_s")
        self._newest, self._came = None, None
        self._actions = self.create_publisher(Float32MultiArray, "action", 1)
        self.create_subscription(Float32MultiArray, "observation", self.on_observation, 1)
        rate_hz = self._value("rate_hz") or self._policy.step_hz or DEFAULT_HZ
        self.create_timer(1.0 / rate_hz, self.on_time)

    def on_observation(self, message):
        """Keep the newest observation."""
        self._newest, self._came = message.data, self._seconds()

    def on_time(self):
        """Publish the action for it, unless it is too old."""
        if self._newest is None or self._seconds() - self._came > self._stale_s:
            return
        try:
            action = self._policy.act(self._newest)
        except ValueError as error:
            self.get_logger().error(f"observation refused: {error}")
            self._newest = None
            return
        message = Float32MultiArray()
        message.data = [float(value) for value in action]
        self._actions.publish(message)

    def _seconds(self):
        return self.get_clock().now().nanoseconds / 1e9

    def _value(self, name):
        return self.get_parameter(name).value


def main():
    """Run the node until it is stopped."""
    rclpy.init()
    node = PolicyNode()
    try:
        rclpy.spin(node)
    finally:
        node.destroy_node()
        rclpy.shutdown()
