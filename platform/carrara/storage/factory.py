"""Which object store a setting means."""

import importlib
from pathlib import Path
from urllib.parse import urlsplit

from carrara.kernel.errors import Invalid
from carrara.storage.directory import DirectoryStore
from carrara.storage.ports import ObjectStore


def open_store(settings_object_store: str, *, s3_endpoint_url: str | None) -> ObjectStore:
    """The store that CARRARA_OBJECT_STORE names: a directory (made if missing), `file:///path` or `s3://bucket/prefix`.

    `Invalid` for any other scheme. Does not touch the network; call `check()` for that.
    """
    scheme, separator, _ = settings_object_store.partition("://")
    if not separator:
        return DirectoryStore(Path(settings_object_store))
    url = urlsplit(settings_object_store)
    plain = not (url.query or url.fragment or url.username or url.password or url.port)
    if scheme == "file" and not url.netloc and url.path and plain:
        return DirectoryStore(Path(url.path))
    if scheme == "s3" and url.netloc and plain:
        # boto3 costs 0.5 s and 30 MB: a process with a directory as its store must not pay for it
        s3 = importlib.import_module("carrara.storage.s3")
        store: ObjectStore = s3.S3Store(url.netloc, url.path.strip("/"), endpoint_url=s3_endpoint_url)
        return store
    raise Invalid(  # without the value: someone may have put a password into it
        f"CARRARA_OBJECT_STORE ({scheme}://...): expected a directory or s3://bucket/prefix (an S3 that is not"
        " Amazon's is given by CARRARA_S3_ENDPOINT_URL, credentials by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)",
        code="bad_object_store",
    )
