"""What runs on one machine for a developer: an embedded broker and the processes of `nextbest up`.

Whoever has a cluster runs none of it.
"""
