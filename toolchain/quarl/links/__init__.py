"""Where a policy runs: each link takes the graph's integers to a runtime or a device and brings its
outputs back.
"""
