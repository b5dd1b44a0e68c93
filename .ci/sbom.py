"""Writes a CycloneDX bill of materials of the server: what locks/server.txt installs."""

import sys
import tomllib
from pathlib import Path

from cyclonedx.model import (
    ExternalReference,
    ExternalReferenceType,
    HashAlgorithm,
    HashType,
    XsUri,
)
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from pip_requirements_parser import InstallRequirement, RequirementsFile

LOCK = Path("locks/server.txt")
TARGET = Path("chatserver.cdx.json")


def main() -> None:
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    bom = Bom()
    bom.metadata.component = server = Component(
        name=project["name"], version=project["version"], type=ComponentType.APPLICATION
    )
    packages = [component(each) for each in RequirementsFile.from_file(str(LOCK)).requirements]
    bom.components.update(packages)
    bom.register_dependency(server, packages)
    JsonV1Dot6(bom).output_to_file(str(TARGET), allow_overwrite=True, indent=2)
    sys.stdout.write(f"sbom: {len(packages)} packages in {TARGET}\n")


def component(requirement: InstallRequirement) -> Component:
    """A package, with the hashes of all its files: which one is installed, the platform says."""
    name, version = requirement.name, requirement.get_pinned_version
    digests = [value.partition(":")[2] for value in requirement.hash_options]
    return Component(
        name=name,
        version=version,
        type=ComponentType.LIBRARY,
        purl=PackageURL("pypi", name=name, version=version),
        external_references=[
            ExternalReference(
                type=ExternalReferenceType.DISTRIBUTION,
                url=XsUri(f"https://pypi.org/simple/{name}/"),
                hashes=[HashType(alg=HashAlgorithm.SHA_256, content=each) for each in digests],
            )
        ],
    )


main()
