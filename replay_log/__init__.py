"""Replays a logged stream of impressions and clicks through the running pipeline, and says what came of it.

A client of the topics like any other producer: it never touches a worker's state and never imports Faust.
"""
