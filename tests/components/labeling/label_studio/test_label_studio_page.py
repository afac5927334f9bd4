"""What a person sees and does in Label Studio's own page, in a real browser."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from components.labeling.backend import ProjectPlan
from components.labeling.label_studio.backend import LabelStudioBackend
from components.labeling.objects import labelled_objects
from tests.components.labeling.label_studio.conftest import POSE, SIZE, images_of
from tests.helpers.browser import missing_browser, running_browser
from tests.helpers.label_studio import PASSWORD, USERNAME, LabelStudioServer
from tests.helpers.servers import wait_until

pytestmark = [
    pytest.mark.label_studio,
    pytest.mark.skipif(bool(missing_browser()), reason=missing_browser()),
]

_SUBMIT = "document.querySelector('button[aria-label*=\"ubmit\"]')"


def test_what_the_model_drew_is_shown_and_submitted_as_it_is(
    backend: LabelStudioBackend,
    label_studio: LabelStudioServer,
    new_plan: Callable[..., ProjectPlan],
    tmp_path: Path,
) -> None:
    text = "0 .5 .5 .5 .5 .4 .4 .9 .6 .6 .9 .8\n"
    plan = new_plan(count=1, wanted=POSE, predictions=text, classes=("mouse",), model="global 3")
    project = backend.open(plan)
    (task,) = label_studio.sdk().tasks.list(project=int(project["project"]), page=1).items or []
    with running_browser(tmp_path) as tab:
        tab.call("Page.navigate", url=f"{label_studio.url}/user/login/")
        tab.wait_for("document.querySelector('input[name=password]')")
        tab.type("input[name=email]", USERNAME)
        tab.type("input[name=password]", PASSWORD)
        tab.run("document.querySelector('[type=submit]').click()")
        tab.wait_for("!location.href.includes('login') && document.readyState === 'complete'")
        tab.call("Page.navigate", url=f"{project['url']}?task={task.id}")
        tab.wait_for("document.querySelector('canvas')")
        shown = "document.body.innerText"
        for name in ("mouse", "nose", "tail", "global 3"):
            tab.wait_for(f"{shown}.includes('{name}')")
        tab.wait_for(f"{_SUBMIT} && !{_SUBMIT}.disabled")
        clicked = 0.0

        def submitted() -> bool:
            # The page draws its button before it listens: whoever sees nothing happen clicks again.
            nonlocal clicked
            if time.monotonic() - clicked > 3:
                tab.run(f"{_SUBMIT}?.click()")
                clicked = time.monotonic()
            return backend.state(project).labelled == 1

        wait_until(submitted, what="the annotation")
        # Nobody else is told what people label here.
        strange = {url for url in tab.requested if url.startswith("http")}
        assert all(url.startswith(label_studio.url) for url in strange), strange
    found = backend.read(project, POSE, images_of(plan))
    assert not found.faults
    (frame,) = found.frames.values()
    (mouse,) = labelled_objects(frame.labels, found.spec, SIZE)
    assert mouse.xyxy == pytest.approx((16, 12, 48, 36), abs=0.01)
    assert {name: point[:2] for name, point in mouse.keypoints.items()} == {
        "nose": pytest.approx((25.6, 19.2), abs=0.01),
        "tail": pytest.approx((38.4, 28.8), abs=0.01),
    }
