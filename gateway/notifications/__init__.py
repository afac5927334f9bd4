"""Telling people and other programs what happened to a task.

`messages` says it in words, `apprise_sender` sends these to the addresses that users give;
`cloud_events` says it to programs, `exchange` publishes that.
"""
