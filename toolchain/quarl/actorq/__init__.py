"""ActorQ: a learner in full precision, actors that collect its data in int8, on Ray.

The integers an actor plays while the policy learns are those a board plays later. Method, options,
and what was measured: toolchain/docs/actorq.md.
"""
