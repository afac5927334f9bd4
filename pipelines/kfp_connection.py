"""The connection to Kubeflow Pipelines: address, token, certificates, time limits, version."""

import logging
import re
import ssl
import threading
import warnings
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from components.errors import BadInput, NotFound
from components.json_text import read_json
from components.settings import Settings
from pipelines.kfp_errors import kfp_errors

logger = logging.getLogger("actverse.pipeline")

CONNECT_SECONDS, READ_SECONDS = 5.0, 30.0
# An older server refuses the security context that each task has (kubeflow/kale issue 687).
OLDEST = (2, 16)
_NEEDED = f"actverse needs Kubeflow Pipelines {OLDEST[0]}, {OLDEST[0]}.{OLDEST[1]} or newer"


class KfpConnection:
    """``kfp.Client``, made when it is needed first, and used by its generated interfaces.

    Those alone take a time limit and do not print; what a file in the user's home, the cluster
    or the environment says of another Kubeflow Pipelines is left aside.
    """

    def __init__(self, settings: Settings) -> None:
        """Raises:
        BadInput: if the endpoint is no http(s) URL, or a file of certificates is missing.
        """
        parts = urlsplit(settings.kfp_endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadInput(
                f"ACTVERSE_KFP_ENDPOINT is {settings.kfp_endpoint!r}, which is no URL: begin it "
                "with http:// or https://."
            )
        bundle = settings.kfp_ca_bundle
        if bundle is not None and not bundle.is_file():
            raise BadInput(f"There is no file {bundle}: mend ACTVERSE_KFP_CA_BUNDLE.")
        self.settings = settings
        self.timeout = (CONNECT_SECONDS, READ_SECONDS)
        self._lock = threading.Lock()
        self._namespace: str | None = None

    @cached_property
    def client(self) -> Any:
        """The ``kfp.Client``."""
        with self._lock, warnings.catch_warnings():
            # That it wants Kubeflow Pipelines 2, each time.
            warnings.simplefilter("ignore", FutureWarning)
            return _make_client(self.settings)

    @property
    def namespace(self) -> str:
        """The namespace to name in requests: empty at a Kubeflow Pipelines of one user.

        The first time, this asks the server whether it is one that we can talk to.

        Raises:
            BadInput: if it is not, or is one of many users and no namespace is set.
        """
        if self._namespace is None:
            self._namespace = self._greet()
        return self._namespace

    def read(self, path: str, **parameters: str) -> Any:
        """An answer of a path that the generated interfaces do not have, unread (urllib3)."""
        api = self.client.api
        answer = api.call_api(
            path,
            "GET",
            path_params=parameters,
            auth_settings=["Bearer"],
            _preload_content=False,
            _request_timeout=self.timeout,
        )
        return answer

    def _greet(self) -> str:

        endpoint, wanted = self.settings.kfp_endpoint, self.settings.kfp_namespace
        try:
            with kfp_errors(self.settings, "say what it is"):
                # Not by its model, which leaves the version out.
                answer = self.read("/apis/v2beta1/healthz").data
        except NotFound as error:
            raise BadInput(f"What answers at {endpoint} has no API v2beta1: {_NEEDED}.") from error
        try:
            content = read_json(answer)
            several = bool(content["multi_user"])
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(
                f"What answers at {endpoint} is not Kubeflow Pipelines, or is a login page in "
                "front of it: mend ACTVERSE_KFP_ENDPOINT or the token."
            ) from error
        version = str(content.get("tag_name", ""))
        number = re.match(r"v?(\d+)\.(\d+)", version)
        if number and (int(number[1]) != OLDEST[0] or int(number[2]) < OLDEST[1]):
            raise BadInput(f"At {endpoint} is Kubeflow Pipelines {version}: {_NEEDED}.")
        if several and not wanted:
            raise BadInput(
                f"The Kubeflow Pipelines at {endpoint} has many users: say by "
                "ACTVERSE_KFP_NAMESPACE in whose namespace the runs are to be."
            )
        return wanted if several else ""


def _make_client(settings: Settings) -> Any:
    import kfp_server_api
    import urllib3
    from kfp import Client
    from kfp.client.set_volume_credentials import ServiceAccountTokenVolumeCredentials

    class IsolatedClient(Client):
        """Knows what Settings say, and nothing else."""

        api: Any

        def _load_config(self, *_: Any, **__: Any) -> Any:
            config = kfp_server_api.Configuration(host=settings.kfp_endpoint.rstrip("/"))
            bundle = settings.kfp_ca_bundle or ssl.get_default_verify_paths().cafile
            config.ssl_ca_cert = str(bundle) if bundle else None
            # Each run that is followed keeps its connection.
            config.connection_pool_maxsize = settings.kfp_followed_runs
            # A redirection leads to a login page, whose HTML would pass for an empty answer; and
            # a request that creates something is never sent again.
            config.retries = urllib3.Retry(
                1,
                redirect=0,
                status=0,
                allowed_methods=["GET"],
                raise_on_redirect=False,
                respect_retry_after_header=False,
            )
            if settings.kfp_token_path is not None:
                credentials = ServiceAccountTokenVolumeCredentials(str(settings.kfp_token_path))
                config.refresh_api_key_hook = credentials.refresh_api_key_hook
                config.api_key["authorization"] = "read anew for each request"
                config.api_key_prefix["authorization"] = "Bearer"
            elif token := settings.kfp_token.get_secret_value():
                config.api_key["authorization"] = token
                config.api_key_prefix["authorization"] = "Bearer"
            return config

        def _load_context_setting_or_default(self) -> None:
            # With a namespace it asks nobody for one. Ours goes with each request.
            self._context_setting = {"namespace": "none"}

    client = IsolatedClient(host=settings.kfp_endpoint)
    client.api = client.runs.run_service_get_run.__self__.api_client
    return client
