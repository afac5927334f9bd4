"""What the images hold, what they do not, and as whom they run."""

import ast
import hashlib
import json
import os
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from docker.errors import ContainerError

from tests.images.conftest import Engine

pytestmark = pytest.mark.docker

ROOT = Path(__file__).parents[2]
PACKAGES = ("actverse", "components", "gateway", "pipelines")
FAMILIES = ("light", "trainer")
TORCH = {"torch", "ultralytics"}
# It runs in Triton's environment.
TRITONS_OWN = ROOT / "components" / "serving" / "backend"


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


def test_an_image_says_what_it_is_and_runs_as_nobody_special(
    engine: Engine, family: str, record_property: Callable[[str, object], None]
):
    config = engine.image(family).attrs["Config"]
    labels = {
        name.removeprefix("org.opencontainers.image."): value
        for name, value in config["Labels"].items()
    }
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert labels["title"] == f"actverse {family}"
    assert labels["licenses"] == "AGPL-3.0-or-later"
    assert labels["version"] == engine.settings.image_tag == version
    assert len(labels["revision"].removesuffix("-dirty")) == 40
    assert "source" in labels
    assert config["User"] == "10001"
    # The runners of Kubeflow Pipelines give the whole command.
    assert config["Entrypoint"] is None
    assert config["Healthcheck"]["Test"] == ["CMD", "actverse", "health"]
    variables = dict(entry.split("=", 1) for entry in config["Env"])
    assert variables["YOLO_AUTOINSTALL"] == "false"
    assert variables["YOLO_OFFLINE"] == "true"
    assert variables["ULTRALYTICS_SAFE_LOAD"] == "true"
    assert variables["ACTVERSE_HOME"] == "/var/lib/actverse"
    assert variables["PYTHONUNBUFFERED"] == "1"
    record_property("figure", f"image {family}: {engine.image(family).attrs['Size'] / 1e6:.0f} MB")


def test_trainer_stands_on_the_layers_of_light(engine: Engine):
    light, trainer = (engine.image(f).attrs["RootFS"]["Layers"] for f in FAMILIES)
    # All but the last one, which is the project itself.
    assert trainer[: len(light) - 1] == light[:-1]


def test_an_image_holds_this_tree_and_all_of_it(engine: Engine, family: str):
    tree = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                tree[str(path.relative_to(ROOT))] = digest
    script = f"""
import hashlib, json, pathlib, actverse
root = pathlib.Path(actverse.__file__).parents[1]
print(json.dumps({{
    str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
    for package in {PACKAGES} for path in (root / package).rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
}}))
"""
    installed = json.loads(engine.run(family, "python3", "-c", script))
    different = {p for p in tree.keys() & installed.keys() if tree[p] != installed[p]}
    assert not different, "the images are of another tree: make images"
    assert tree.keys() == installed.keys()


def modules() -> set[str]:
    """Our modules, and every one that they import anywhere, within functions too."""
    found = set()
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            if TRITONS_OWN in path.parents:
                continue
            found.add(".".join(path.relative_to(ROOT).with_suffix("").parts))
            tree = ast.parse(path.read_text())
            # What stands there for the type checker alone is never imported.
            tree.body = [n for n in tree.body if not ast.unparse(n).startswith("if TYPE_CHECKING")]
            for node in ast.walk(tree):
                if isinstance(node, ast.Import):
                    found |= {name.name for name in node.names}
                elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                    found.add(node.module)
    return {name.removesuffix(".__init__") for name in found}


def test_everything_that_is_imported_anywhere_is_there(engine: Engine, family: str):
    script = """
import importlib, json, sys
missing = {}
for name in json.loads(sys.argv[1]):
    try:
        importlib.import_module(name)
    except ImportError as error:
        missing[name] = error.name
    except Exception as error:
        # Alembic's file and the report's cells do more than import.
        print(name, repr(error))
print("\\n" + json.dumps(missing))
"""
    names = json.dumps(sorted(modules()))
    output = engine.run(family, "python3", "-c", script, names, stderr=False)
    missing = json.loads(output.splitlines()[-1])
    assert set(missing.values()) == (TORCH if family == "light" else set()), missing


def test_light_has_nothing_of_torch(engine: Engine):
    packages = engine.run(
        "light",
        "python3",
        "-c",
        "import importlib.metadata as m; print(*sorted(d.name for d in m.distributions()))",
    ).split()
    assert not [n for n in packages if n.startswith(("torch", "nvidia", "cuda", "ultralytics"))]


def test_there_is_nothing_to_build_or_install_with(engine: Engine, family: str):
    tools = "pip pip3 uv gcc cc g++ c++ ld as make git"
    found = engine.run(family, "sh", "-c", f"for t in {tools}; do command -v $t; done; true")
    assert found == ""
    script = "from importlib.util import find_spec as f; print([m for m in "
    script += "('pip', 'ensurepip', 'wheel') if f(m)])"
    assert engine.run(family, "python3", "-c", script).strip() == "[]"
    # Torch needs setuptools at run time; nothing else does.
    script = "import importlib.metadata as m; print(*[d.name for d in m.distributions()])"
    names = engine.run(family, "python3", "-c", script).split()
    assert ("setuptools" in names) == (family == "trainer")


def test_no_layer_keeps_what_the_build_was_given(engine: Engine, family: str):
    image = engine.image(family)
    history = json.dumps([entry["CreatedBy"] for entry in image.history()])
    config = json.dumps(image.attrs["Config"])
    given = {
        value
        for name in ("SSL_CERT_FILE", "UV_DEFAULT_INDEX", "PIP_INDEX_URL", "HTTPS_PROXY")
        if (value := os.environ.get(name))
    }
    for secret in {*given, str(ROOT), "_TOKEN=", "PASSWORD"}:
        assert secret not in history
        assert secret not in config
    root = {"user": "0", "network_mode": "none"}
    folders = "/run/secrets /mnt /srv /root/.cache /opt/uv /opt/light /opt/trainer /wheel /src"
    listed = engine.run(family, "sh", "-c", f"find {folders} -type f 2>/dev/null; true", **root)
    assert listed == ""
    names = ("pip.conf", "uv.toml", ".netrc", ".git", "id_rsa", "direct_url.json")
    search = " -o ".join(f"-name {name}" for name in names)
    found = engine.run(family, "sh", "-c", rf"find / -xdev \( {search} \)", **root)
    assert found == ""
    sites = "/opt/actverse/lib/python3*/site-packages"
    ours = " ".join(f"{sites}/{package}" for package in (*PACKAGES, "*.dist-info"))
    grep = f"grep -rlF -e '{ROOT}/' {' '.join(f'-e {value}' for value in given)} {ours}"
    assert engine.run(family, "sh", "-c", f"{grep} || true", **root) == ""


def test_the_root_cannot_be_written_to_and_need_not(engine: Engine, family: str):
    with pytest.raises(ContainerError, match="Read-only"):
        engine.run(family, "touch", "/opt/actverse/x")
    with pytest.raises(ContainerError, match="Permission denied"):
        engine.run(family, "touch", "/opt/actverse/x", read_only=False)
    engine.run(family, "sh", "-c", "touch /var/lib/actverse/x /tmp/x")
    assert "Usage: actverse" in engine.run(family, "actverse", "--help")
    assert engine.run(family, "id", "-un").strip() == "actverse"
    # Some clusters choose the user; its group is 0.
    script = "id -u; touch $HOME/x; actverse --help >/dev/null"
    other = {"user": "12345", "read_only": False, "tmpfs": {}}
    assert engine.run(family, "sh", "-c", script, **other) == "12345\n"


def test_the_health_check_answers(engine: Engine, family: str):
    engine.run(family, "actverse", "health")
    with pytest.raises(ContainerError, match="ACTVERSE_SECRETS_DIR"):
        engine.run(family, "actverse", "health", environment={"ACTVERSE_SECRETS_DIR": "/none"})


def test_ultralytics_finds_its_font_and_asks_no_network(engine: Engine):
    script = """
from ultralytics.utils import AUTOINSTALL, ONLINE, SAFE_LOAD
from ultralytics.utils.checks import check_font
print(AUTOINSTALL, ONLINE, SAFE_LOAD, check_font("Arial.ttf"), check_font("Arial.Unicode.ttf"))
"""
    said = engine.run("trainer", "python3", "-c", script, stderr=False).splitlines()[-1]
    fonts = "/usr/local/share/fonts/"
    assert said == f"False False True {fonts}Arial.ttf {fonts}Arial.Unicode.ttf"


def test_the_tracking_server_is_in_light(engine: Engine):
    assert "--backend-store-uri" in engine.run("light", "mlflow", "server", "--help")
