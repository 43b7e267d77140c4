"""systemd units: one a process of ours. PostgreSQL and Valkey are the distribution's or somebody else's."""

from carrara.kernel import heartbeat
from carrara.processes import ALWAYS, PROCESSES, ProbeKind, ProcessSpec

NOTICE = "# Rendered from platform/carrara/processes.py by `make docs`; change it with `systemctl edit`, not here."
HOME = "/opt/carrara"
STATE = "/var/lib/carrara"
OTHERS = {"postgres": ("postgresql.service",), "valkey": ("valkey-server.service", "valkey.service", "redis.service")}

_HARDENING = (
    "NoNewPrivileges=yes",
    "CapabilityBoundingSet=",
    "ProtectSystem=strict",
    "ProtectHome=yes",
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    "ProtectClock=yes",
    "ProtectKernelModules=yes",
    "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "LockPersonality=yes",
    "SystemCallArchitectures=native",
)
_ONLY_WITHOUT_CHILDREN = (
    "UMask=0077",
    "RestrictNamespaces=yes",
    "ProtectProc=invisible",
    "ProtectControlGroups=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelTunables=yes",
    "ProtectHostname=yes",
)
_WITH_CHILDREN = (
    "# It confines jobs and models itself, more strictly than a unit can: each gets user, pid, network, mount, IPC and",
    "# UTS namespaces, Landlock and a seccomp filter. So these must stay away: a narrower RestrictNamespaces; a",
    "# SystemCallFilter without @mount; PrivateUsers; and ProtectKernelTunables, ProtectKernelLogs, ProtectProc, which",
    "# cover parts of /proc: the kernel then refuses the children a /proc of their own, so they would see the host's.",
    "# `carrara doctor` says which level of the sandbox is reached.",
    "RestrictNamespaces=user pid net mnt ipc uts",
    "UMask=0022",
    "# One job that is out of memory must not stop the others.",
    "OOMPolicy=continue",
)
_CAPABILITIES = "SETUID SETGID SYS_ADMIN CHOWN DAC_OVERRIDE FOWNER KILL NET_ADMIN"


def units() -> dict[str, str]:
    """`carrara-<process>.service` for every process of ours; the drop-in for level `strict`
    for those that confine."""
    ours = [spec for spec in PROCESSES if spec.name not in OTHERS]
    strict = {f"carrara-{spec.name}.strict.conf": _strict(spec) for spec in ours if spec.confines}
    return {f"carrara-{spec.name}.service": _unit(spec) for spec in ours} | strict


def command(spec: ProcessSpec) -> str:
    """The command of a process from an installation in `HOME`."""
    program, *arguments = spec.argv
    return " ".join((f"{HOME}/bin/{program}", *arguments))


def secrets_directory() -> str:
    """Where the units look for one file a secret."""
    return "/etc/carrara/secrets"


def _strict(spec: ProcessSpec) -> str:
    bound = " ".join(f"CAP_{name}" for name in _CAPABILITIES.split())
    return f"""{NOTICE}
# Optional, as /etc/systemd/system/carrara-{spec.name}.service.d/strict.conf. The main process is then root with few
# capabilities, and each child gets a uid of its own: level `strict` instead of `standard`. It needs
# CARRARA_OBJECT_STORE=s3://...: what root writes into a shared directory, the other processes could not read.
[Service]
User=root
Group=root
StateDirectory=
StateDirectory=carrara/{spec.name}
CapabilityBoundingSet=
CapabilityBoundingSet={bound}
Environment=CARRARA_SANDBOX_LEVEL=strict
"""


def _unit(spec: ProcessSpec) -> str:
    after = ["network-online.target"]
    wants = ["network-online.target"]
    for name in spec.depends_on:
        after += OTHERS.get(name, (f"carrara-{name}.service",))
        wants += () if name in OTHERS else (f"carrara-{name}.service",)
    lines = [
        NOTICE,
        "[Unit]",
        f"Description=Carrara: {spec.name}",
        f"After={' '.join(after)}",
        f"Wants={' '.join(wants)}",
        *([] if spec.runs_once else ["StartLimitIntervalSec=0"]),
        "",
        "[Service]",
        *_starting(spec),
        "",
        *_seeing(spec),
        "",
        *_HARDENING,
        *(_WITH_CHILDREN if spec.confines else _ONLY_WITHOUT_CHILDREN),
    ]
    if not spec.runs_once:
        lines += ["", "[Install]", "WantedBy=multi-user.target"]
    return "\n".join(lines) + "\n"


def _starting(spec: ProcessSpec) -> list[str]:
    once = ["Type=oneshot", "Restart=on-failure", "RestartSec=5"]
    long = [
        "Type=exec",
        "Restart=always",
        "RestartSec=1",
        f"KillSignal={spec.stop_signal.name}",
        "KillMode=mixed",  # only the main process is told to stop: its children must live until it has drained
        f"TimeoutStopSec={spec.drain_seconds:g}",
        "LimitNOFILE=65536",
    ]
    return [
        *(once if spec.runs_once else long),
        f"ExecStart={command(spec)}",
        "User=carrara",
        "Group=carrara",
        f"WorkingDirectory={STATE}",
        f"StateDirectory=carrara carrara/objects carrara/{spec.name}",
        "StateDirectoryMode=0750",
        *([f"RuntimeDirectory=carrara-{spec.name}"] if spec.probe is ProbeKind.HEARTBEAT else []),
    ]


def _seeing(spec: ProcessSpec) -> list[str]:
    """A file wins over `Environment`; carrara.env names none of these."""
    lines = [f"Environment={name}={value}" for name, value in sorted(ALWAYS.items())]
    lines.append(f"Environment=CARRARA_DATA_DIR={STATE}/{spec.name}")
    if spec.probe is ProbeKind.HEARTBEAT:
        lines.append(f"Environment={heartbeat.VARIABLE}=/run/carrara-{spec.name}/heartbeat")
    lines.append("EnvironmentFile=/etc/carrara/carrara.env")
    lines += ["# A secret each, and only those that this process needs; systemd reads them as root."]
    lines += [f"EnvironmentFile=-{secrets_directory()}/{variable}.env" for variable in spec.sees]
    return lines
