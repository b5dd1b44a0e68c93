"""The files for running it for real: what they set exists, and their times fit together."""

import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from chatserver.api.table import ROUTES
from chatserver.dev.balancers import render
from chatserver.serving import RESERVE
from chatserver.settings import Settings
from tests.kit.balancer import find_program

ROOT = Path(__file__).parents[3]
HAPROXY = (ROOT / "config" / "haproxy.cfg").read_text("utf-8")
NGINX = (ROOT / "config" / "nginx.conf").read_text("utf-8")

SECRETS = {
    "CHAT_DATABASE_URL": "postgresql://chat:secret@db/chat",
    "CHAT_REDIS_URL": "redis://chat:secret@redis:6379/0",
    "CHAT_JWT_SECRET": "2xk9wq1nv7zh4mb8rt5jc0gd6yp3slfu",
}


def compose() -> Any:
    return yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))


def manifests(kind: str) -> list[Any]:
    text = (ROOT / "config" / "kubernetes.yaml").read_text("utf-8")
    return [part for part in yaml.safe_load_all(text) if part["kind"] == kind]


def pod(kind: str) -> Any:
    (manifest,) = manifests(kind)
    return manifest["spec"]["template"]["spec"]


def production(environ: Mapping[str, str] = SECRETS) -> Settings:
    """What a node would start with."""
    return Settings.load("production", environ)


def compose_nodes() -> dict[str, Any]:
    services = compose()["services"]
    return {name: service for name, service in services.items() if name.startswith("chat")}


def interpolated(text: str) -> str:
    """As Compose does it, with one secret for all."""
    return re.sub(r"\$\{\w+:\?\}", SECRETS["CHAT_JWT_SECRET"].replace(" ", "-"), text)


def kubernetes_environ(kind: str) -> dict[str, str]:
    (container,) = pod(kind)["containers"]
    return {
        entry["name"]: entry.get("value") or SECRETS[entry["name"]] for entry in container["env"]
    }


def seconds(text: str) -> float:
    """Of a duration as these files write them."""
    number, unit = re.fullmatch(r"(\d+)(ms|s|m)", text).groups()  # type: ignore[union-attr]
    return int(number) * {"ms": 0.001, "s": 1, "m": 60}[unit]


def time_to_end(settings: Settings) -> float:
    return settings.server.drain_delay + settings.server.shutdown_grace + RESERVE


# Compose


def test_compose_gives_every_node_settings_with_which_it_starts() -> None:
    nodes = compose_nodes()
    assert len(nodes) == 3
    for service in (*nodes.values(), compose()["services"]["migrate"]):
        settings = production({k: interpolated(v) for k, v in service["environment"].items()})
        assert settings.redis.url.startswith("redis://chat:")
    balancer = compose()["services"]["balancer"]["networks"]["default"]["ipv4_address"]
    assert settings.server.trusted_proxies == (balancer,)


def test_compose_mounts_files_that_exist() -> None:
    services = compose()["services"].values()
    mounted = [mount.split(":")[0] for service in services for mount in service.get("volumes", [])]
    files = [path for path in mounted if path.startswith(".")]
    assert files == ["./config/haproxy.cfg"]
    assert all((ROOT / path).is_file() for path in files)
    assert set(mounted) - set(files) == set(compose()["volumes"])


def test_compose_depends_on_services_that_exist_and_can_say_how_they_are() -> None:
    services = compose()["services"]
    for service in services.values():
        wanted = service.get("depends_on", {})
        assert set(wanted) <= set(services)
        for name, how in wanted.items() if isinstance(wanted, dict) else ():
            if how["condition"] == "service_healthy":
                assert "test" in services[name]["healthcheck"]


def test_compose_waits_for_a_node_to_drain() -> None:
    for service in compose_nodes().values():
        assert seconds(service["stop_grace_period"]) > time_to_end(production())


def test_haproxy_knows_the_nodes_of_compose_and_has_files_for_its_sockets() -> None:
    addresses = [f"{name}:8080" for name in compose_nodes()]
    assert re.findall(r"^ +server \S+ (\S+)", HAPROXY, re.MULTILINE) == addresses * 3
    (maxconn,) = re.findall(r"^ +maxconn (\d+)", HAPROXY, re.MULTILINE)
    assert compose()["services"]["balancer"]["ulimits"]["nofile"] > 2 * int(maxconn) + 100


# Kubernetes


def test_kubernetes_gives_every_pod_settings_with_which_it_starts() -> None:
    settings = production(kubernetes_environ("Deployment"))
    assert settings.redis.url == SECRETS["CHAT_REDIS_URL"]
    production(kubernetes_environ("Job"))


def test_kubernetes_puts_no_variables_of_its_own_among_the_settings() -> None:
    assert [service["metadata"]["name"] for service in manifests("Service")] == ["chat"]
    for kind in ("Deployment", "Job"):
        assert pod(kind)["enableServiceLinks"] is False


def test_kubernetes_waits_for_a_node_to_drain_and_notices_it_in_time() -> None:
    settings = production(kubernetes_environ("Deployment"))
    assert pod("Deployment")["terminationGracePeriodSeconds"] > time_to_end(settings)
    (container,) = pod("Deployment")["containers"]
    probe = container["readinessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] < settings.server.drain_delay


def test_kubernetes_asks_paths_that_exist_for_what_they_are_there_for() -> None:
    (container,) = pod("Deployment")["containers"]
    asked = {
        name: container[f"{name}Probe"]["httpGet"]["path"]
        for name in ("startup", "readiness", "liveness")
    }
    # Where all pods fail there is no fallback: Redis, which they share, is left out.
    readiness = "/readyz?exclude=backplane"
    assert asked == {"startup": "/healthz", "readiness": readiness, "liveness": "/healthz"}
    paths = {path.partition("?")[0] for path in asked.values()}
    assert paths <= {route.path for route in ROUTES}


def test_prometheus_asks_the_port_inside_to_which_no_service_leads() -> None:
    settings = production(kubernetes_environ("Deployment"))
    server = settings.server
    assert not server.public_metrics
    (container,) = pod("Deployment")["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": server.port, "internal": server.internal_port}
    (deployment,) = manifests("Deployment")
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(server.internal_port)
    (service,) = manifests("Service")
    assert [port["targetPort"] for port in service["spec"]["ports"]] == ["http"]
    for environ in (kubernetes_environ("Deployment"), compose_nodes()["chat1"]["environment"]):
        assert environ["CHAT_SERVER_INTERNAL_HOST"] == "0.0.0.0"
    published = [port for node in compose_nodes().values() for port in node.get("ports", [])]
    assert published == []


def test_kubernetes_never_has_fewer_nodes_than_it_should() -> None:
    (deployment,) = manifests("Deployment")
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    (budget,) = manifests("PodDisruptionBudget")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selectors = [
        deployment["spec"]["selector"]["matchLabels"],
        budget["spec"]["selector"]["matchLabels"],
        manifests("Service")[0]["spec"]["selector"],
    ]
    assert selectors == [labels] * 3
    # The Job's pods must get no requests.
    (job,) = manifests("Job")
    assert job["spec"]["template"]["metadata"]["labels"] != labels


def test_kubernetes_shows_neither_metrics_nor_health_to_the_world() -> None:
    (route,) = manifests("HTTPRoute")
    paths = [
        (match["path"]["type"], match["path"]["value"])
        for rule in route["spec"]["rules"]
        for match in rule["matches"]
    ]
    assert paths == [("PathPrefix", "/api"), ("PathPrefix", "/socket.io"), ("PathPrefix", "/ws")]


def test_kubernetes_leads_from_the_gateway_to_the_service() -> None:
    ((gateway,), (route,), (service,)) = map(manifests, ("Gateway", "HTTPRoute", "Service"))
    assert route["spec"]["parentRefs"] == [{"name": gateway["metadata"]["name"]}]
    listeners = gateway["spec"]["listeners"]
    assert route["spec"]["hostnames"] == [listener["hostname"] for listener in listeners]
    (port,) = service["spec"]["ports"]
    backend = {"name": service["metadata"]["name"], "port": port["port"]}
    for rule in route["spec"]["rules"]:
        assert rule["backendRefs"] == [backend]
    # A poll may last longer than a gateway's own limit, and belongs to one node.
    sockets = route["spec"]["rules"][1]
    assert sockets["timeouts"] == {"request": "0s"}
    assert sockets["sessionPersistence"] == {"type": "Cookie"}
    assert route["spec"]["rules"][2]["timeouts"] == {"request": "0s"}


# Balancers


@pytest.mark.parametrize("program", ["haproxy", "nginx"])
def test_a_balancer_accepts_its_configuration_as_it_is(program: str, tmp_path: Path) -> None:
    name = {"haproxy": "haproxy.cfg", "nginx": "nginx.conf"}[program]
    config = ROOT / "config" / name
    command = {
        "haproxy": ["-c", "-f", str(config)],
        "nginx": ["-t", "-e", "stderr", "-c", str(config), "-g", f"pid {tmp_path}/pid;"],
    }
    done = subprocess.run(
        [find_program(program), *command[program]], capture_output=True, text=True, check=False
    )
    if "Permission denied" in done.stderr:
        pytest.skip("its logs and temporary files are root's here")
    assert done.returncode == 0, done.stderr


def timeouts() -> Iterator[tuple[str, float]]:
    for name, value in re.findall(r"^ +timeout (\S+) (\S+)", HAPROXY, re.MULTILINE):
        yield f"haproxy {name}", seconds(value)
    for name, value in re.findall(r"^ +(\w+_timeout) (\S+);", NGINX, re.MULTILINE):
        yield f"nginx {name}", seconds(value)


def test_the_times_of_the_balancers_fit_those_of_a_node() -> None:
    times, node = dict(timeouts()), production()
    silence = node.realtime.ping_interval + node.realtime.ping_timeout
    assert times["haproxy tunnel"] > silence
    assert times["nginx proxy_read_timeout"] > silence
    assert times["nginx proxy_send_timeout"] > silence
    # An answer takes as long as an event or a poll may.
    answer = max(node.realtime.handler_timeout, node.realtime.ping_interval)
    assert times["haproxy server"] > answer
    assert times["nginx proxy_read_timeout"] > answer
    # The head of a request has as much time as at a node itself.
    assert times["haproxy http-request"] == node.server.request_timeout
    assert times["nginx client_header_timeout"] == node.server.request_timeout


def test_haproxy_notices_a_draining_node_while_it_still_serves() -> None:
    found = re.search(r"default-server inter (\S+) fastinter (\S+) .* fall (\d) ", HAPROXY)
    assert found is not None
    inter, fast, fall = seconds(found[1]), seconds(found[2]), int(found[3])
    assert inter + (fall - 1) * fast < production().server.drain_delay


def test_one_server_line_is_enough_for_the_renderer() -> None:
    assert "127.0.0.1:4001" in render(HAPROXY, 8080, [4001])
