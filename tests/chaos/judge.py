"""Is anything lost, wrongly failed, doubled, different or left? Only what is there counts."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

from tests.chaos.evidence import Evidence, TaskThere
from tests.chaos.findings import Finding

ENDED = ("succeeded", "failed", "cancelled")
# A killed server or worker may take so long to come back, and what it held with it.
_ON_THE_WAY = 120.0
# They come only where a new version beats the one that is served.
_NOT_ALWAYS = {"MODEL_DEPLOYMENT_REQUESTED", "MODEL_DEPLOYED"}


def judge(evidence: Evidence) -> list[Finding]:
    """Everything that should not be."""
    return [
        *_tasks(evidence),
        *_events(evidence),
        *_notifications(evidence),
        *_registry(evidence),
        *_results(evidence),
        *_leftovers(evidence),
    ]


def _tasks(evidence: Evidence) -> Iterator[Finding]:
    there = {task.task_id: task for task in evidence.tasks}
    asked = {one.task_id for one in evidence.asked}
    for one in evidence.asked:
        if one.task_id not in there:
            yield Finding("lost", f"the task {one.task_id} ({one.kind}) is not in the database")
    for task in evidence.tasks:
        name = f"{task.task_id} ({task.kind} of {task.user})"
        if task.task_id not in asked:
            yield Finding("doubled", f"nobody asked for the task {name}", moment=task.changed)
        if task.state not in ENDED:
            yield Finding(
                "lost", f"{name} is {task.state} and has not ended", task.steps, task.changed
            )
        elif task.state != "succeeded":
            yield Finding("failed", f"{name}: {task.error}", task.steps, task.changed)
        if task.state in ENDED and task.open_attempts:
            yield Finding(
                "leftovers",
                f"{name} has ended, and {task.open_attempts} of its attempts have not",
                moment=task.changed,
            )


def _events(evidence: Evidence) -> Iterator[Finding]:
    expected = _expected_events(evidence)
    for task in evidence.tasks:
        counts = Counter(task.events)
        usual = expected.get(task.kind)
        if usual is None:
            continue
        for name, count in counts.items():
            if count > max(usual[name], 1):
                yield Finding(
                    "doubled", f"{task.task_id} has {count} events {name}", moment=task.changed
                )
        missing = set(usual) - set(counts) - _NOT_ALWAYS
        if task.state == "succeeded" and missing:
            names = ", ".join(sorted(missing))
            yield Finding(
                "lost", f"{task.task_id} has succeeded without {names}", moment=task.changed
            )


def _expected_events(evidence: Evidence) -> dict[str, Counter[str]]:
    there = {task.task_id: task for task in evidence.tasks}
    references = [there.get(one.task_id) for one in evidence.references.values()]
    return {task.kind: Counter(task.events) for task in references if task is not None}


def _notifications(evidence: Evidence) -> Iterator[Finding]:
    allowed: Counter[tuple[str, str]] = Counter()
    wanted: Counter[tuple[str, str]] = Counter()
    for told in evidence.told:
        allowed[told.user, told.title] += told.attempts
        wanted[told.user, told.title] += 1
        if told.state != "sent":
            yield Finding(
                "lost", f"the notification {told.title!r} is {told.state}: {told.error or 'unsent'}"
            )
    for user, titles in evidence.arrived.items():
        for title, moments in titles.items():
            if len(moments) > allowed[user, title]:
                yield Finding(
                    "doubled",
                    f"{title!r} arrived {len(moments)} times after {allowed[user, title]} attempts",
                    moment=moments[-1],
                )
            elif needless := _needless(moments, evidence.senders_killed):
                yield Finding(
                    "doubled",
                    f"{title!r} arrived again {needless} times, though no sender was killed",
                    moment=moments[-1],
                )
    for (user, title), count in wanted.items():
        arrived = len(evidence.arrived.get(user, {}).get(title, ()))
        sent = sum(1 for told in evidence.told if (told.user, told.title) == (user, title))
        if arrived < count and sent == count:
            yield Finding("lost", f"{title!r} was sent {count} times and arrived {arrived} times")


def _needless(moments: Sequence[float], killed: Sequence[float]) -> int:
    """How often something came again though nobody was killed on its first way."""
    return sum(
        not any(first - _ON_THE_WAY <= kill <= again for kill in killed)
        for first, again in pairwise(sorted(moments))
    )


def _registry(evidence: Evidence) -> Iterator[Finding]:
    moments = {task.task_id: task.changed for task in evidence.tasks}
    finished = Counter(run.task_id for run in evidence.runs if run.status == "FINISHED")
    for task_id, count in finished.items():
        if task_id and count > 1:
            yield Finding(
                "retrained",
                f"{task_id} was trained to the end {count} times",
                moment=moments.get(task_id, 0.0),
            )
    for run in evidence.runs:
        if run.status in ("RUNNING", "SCHEDULED"):
            yield Finding(
                "leftovers",
                f"the run {run.run_id} of {run.task_id} is {run.status} in MLflow",
                moment=moments.get(run.task_id, 0.0),
            )
    versions = Counter(version.task_id for version in evidence.versions if version.task_id)
    for task_id, count in versions.items():
        if count > 1:
            yield Finding(
                "doubled",
                f"{task_id} has {count} model versions",
                moment=moments.get(task_id, 0.0),
            )
    for version in evidence.versions:
        where = f"{version.model} version {version.version}"
        if version.champion and version.state != "ready":
            yield Finding("lost", f"{where} is champion, and its serving.state {version.state!r}")
        is_served = evidence.served is None or (version.model, version.version) in evidence.served
        if version.champion and not is_served:
            yield Finding("lost", f"{where} is champion, and Triton does not serve it")


def _results(evidence: Evidence) -> Iterator[Finding]:
    there = {task.task_id: task for task in evidence.tasks}
    usual: dict[tuple[str, str], TaskThere] = {}
    for one in evidence.references.values():
        if (task := there.get(one.task_id)) is not None:
            usual[task.kind, task.user] = task
    for task in evidence.tasks:
        reference = usual.get((task.kind, task.user))
        if reference is None or task.task_id not in evidence.results:
            continue
        made = evidence.results[task.task_id]
        should = evidence.results.get(reference.task_id, {})
        wrong = sorted(name for name in {*made, *should} if made.get(name) != should.get(name))
        if wrong:
            yield Finding(
                "differing",
                f"{task.task_id} ({task.kind}) differs from {reference.task_id}: "
                f"{', '.join(wrong[:5])}",
                tuple(f"{name}: {made.get(name)}, not {should.get(name)}" for name in wrong[:5]),
                task.changed,
            )


def _leftovers(evidence: Evidence) -> Iterator[Finding]:
    for left in evidence.left:
        yield Finding("leftovers", left.what, moment=left.moment)
