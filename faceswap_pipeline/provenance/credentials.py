"""Content credentials (C2PA): a signed statement inside the file of what was done to it, from what, with what.

In: a finished film or picture, its source, what there is to say. Out: the signed file, or what such a file states.
"""

import json
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

from c2pa import Builder, C2paBuilderIntent, C2paError, C2paSignerInfo, Context, Reader, Settings, Signer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from faceswap_pipeline import __version__
from faceswap_pipeline.errors import OptionError
from faceswap_pipeline.storage import make_folder, sha256_file, storage_errors, sync_file, sync_folder

GENERATOR = "faceswap_pipeline"
STATEMENT = "org.faceswap-pipeline.conversion"
"""Label of the assertion that carries the run, the checkpoint, the consent record and the watermark's number."""
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
MIME_TYPES = {
    ".mp4": "video/mp4",
    ".m4v": "video/x-m4v",
    ".mov": "video/quicktime",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
}
"""Files that are signed, by their ending. Others (mkv, webm) have no place for a manifest."""

_OTHER_TYPES = {".webp": "image/webp", ".tif": "image/tiff", ".tiff": "image/tiff", ".avi": "video/avi"}
_YEARS = 10
_EC_NAMES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
_SETTINGS = {"verify": {"verify_trust": False}, "builder": {"thumbnail": {"enabled": False}}}
# Where a manifest store begins in a file: its box in mp4 and mov, its chunk in PNG, its superbox in JPEG.
_TRACES = (bytes.fromhex("d8fec3d61b0e483c92975828877ec481"), b"caBX", b"jumbc2pa", b"jumdc2pa")
# What is said about the signer and the clock, not about the file.
_NOT_THE_FILE = ("signingCredential.", "timeStamp.", "timestamp.")


@dataclass(frozen=True)
class Identity:
    """Who signs: a private key and its certificates, in PEM."""

    key: bytes
    certificates: bytes
    """The signer's certificate first, then those that vouch for it."""
    time_authority: str = ""
    """Address of an RFC 3161 time-stamp authority; empty: no time stamp and no network."""

    @property
    def algorithm(self) -> str:
        """C2PA's name of the signature. Raises OptionError for a kind of key that C2PA does not know."""
        key = serialization.load_pem_private_key(self.key, None)
        if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _EC_NAMES:
            return _EC_NAMES[key.curve.name]
        if isinstance(key, ed25519.Ed25519PrivateKey):
            return "ed25519"
        if isinstance(key, rsa.RSAPrivateKey):
            return "ps256"
        raise OptionError("the signing key is none that C2PA knows: expected P-256, P-384, P-521, Ed25519 or RSA")

    @property
    def serial(self) -> str:
        """Serial number of the signer's certificate, decimal: manifests state it."""
        return str(x509.load_pem_x509_certificate(self.certificates).serial_number)


@dataclass(frozen=True)
class Manifest:
    """What the credentials of a file say, and whether they belong to it."""

    state: Literal["none", "matches", "differs"]
    """`differs`: there is a manifest, but the file is not, or no more, the one it was signed for."""
    ours: bool
    """Whether it, or one of the files it was made from, says that this software swapped a face."""
    label: str
    """The active manifest's name, empty when there is none or it cannot be read."""
    generator: str
    signer: str
    serial: str
    time: str
    """When it was signed, as a time-stamp authority or the signer says; often empty."""
    statement: Mapping[str, Any]
    """What our assertion holds: run, checkpoint, consent, mark."""
    problems: tuple[str, ...]
    """C2PA's codes of what does not match."""


NO_MANIFEST = Manifest("none", False, "", "", "", "", "", {}, ())


def config_folder() -> Path:
    """Where this user's settings of `swap` are: $XDG_CONFIG_HOME/swap, or the platform's place for such things."""
    if sys.platform == "win32":
        base = Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path.home() / ".config"
    return Path(os.environ.get("XDG_CONFIG_HOME") or base) / "swap"


def own_identity(folder: Path | None = None, time_authority: str = "") -> Identity:
    """The identity of this installation in `folder` (default: the user's `config_folder()`); made on first use.

    Raises StorageError when it cannot be written, OptionError when it is damaged.
    """
    home = (folder or config_folder()) / "identity"
    if not home.exists():
        _make_identity(home)
    return open_identity(home, time_authority)


def open_identity(folder: Path, time_authority: str = "") -> Identity:
    """The identity in a folder that holds `key.pem` and `certificate.pem` (chain, signer first).

    Raises OptionError when one is missing, is no PEM, or they do not belong together.
    """
    try:
        key, certificates = (folder / "key.pem").read_bytes(), (folder / "certificate.pem").read_bytes()
        public = serialization.load_pem_private_key(key, None).public_key()
        together = x509.load_pem_x509_certificate(certificates).public_key() == public
    except FileNotFoundError as error:
        raise OptionError(f"{folder}: expected key.pem and certificate.pem to sign with") from error
    except (ValueError, TypeError) as error:
        raise OptionError(f"{folder}: key.pem or certificate.pem is no unencrypted PEM ({error})") from error
    if not together:
        raise OptionError(f"{folder}: certificate.pem does not belong to key.pem; the signer's comes first in it")
    identity = Identity(key, certificates, time_authority)
    identity.algorithm  # noqa: B018 - an unknown kind of key is told now, not after the film
    return identity


def can_sign(path: Path) -> bool:
    """Whether files with this ending have a place for a manifest."""
    return path.suffix.lower() in MIME_TYPES


class FileSigner:
    """Signs files that were made from one source, which is read only once."""

    def __init__(self, source: Path, statement: Mapping[str, Any], identity: Identity) -> None:
        """`source` is the video or picture that was changed: it becomes the parent, with the manifest it had itself.

        `statement` is what our own assertion says, plain values. Raises OptionError when the source cannot be read.
        """
        self._source, self._statement, self._identity = source, statement, identity
        self._context = Context(Settings.from_dict(_SETTINGS))
        try:
            self._parent = _read_parent(source, self._context)
        except C2paError as error:
            raise OptionError(f"nothing can be signed with {source} as its source: {error}") from error

    def __call__(self, unsigned: Path, target: Path) -> dict[str, Any]:
        """Write `unsigned` with a signed manifest to `target`: aside, flushed, renamed. It must be its last write.

        Returns the manifest's label, its length and the signed file's SHA-256. Raises StorageError when it cannot be
        written, OptionError when the identity or the time stamp fails.
        """
        mime, authority = MIME_TYPES[target.suffix.lower()], self._identity.time_authority
        part = target.with_name(f".{target.name}.part")
        try:
            with (
                storage_errors(target),
                Builder(_definition(target.name, self._source, self._statement), self._context) as builder,
                _signer(self._identity) as signer,
                unsigned.open("rb") as before,
                part.open("w+b") as after,
            ):
                builder.set_intent(C2paBuilderIntent.EDIT)
                if self._parent is not None:
                    builder.add_ingredient_from_archive(BytesIO(self._parent))
                store = builder.sign(signer, mime, before, after)
            sync_file(part)
            found = read_manifest(part, mime)
            if found.state != "matches":
                raise OptionError(
                    f"{target}: the signed file does not pass its own check ({', '.join(found.problems)})"
                )
            with storage_errors(target):
                os.replace(part, target)
        except C2paError as error:
            where = f" with a time stamp of {authority}" if authority else ""
            raise OptionError(f"{target} cannot be signed{where}: {error}") from error
        finally:
            part.unlink(missing_ok=True)
        sync_folder(target.parent)
        return {"manifest": found.label, "manifest_bytes": len(store), "film_sha256": sha256_file(target)}


def sign_file(
    unsigned: Path, target: Path, source: Path, statement: Mapping[str, Any], identity: Identity
) -> dict[str, Any]:
    """`FileSigner` for a single file."""
    return FileSigner(source, statement, identity)(unsigned, target)


def read_manifest(path: Path, mime: str | None = None) -> Manifest:
    """What the credentials in a file say; NO_MANIFEST where there are none. `mime` overrides what its content says.

    Nothing is fetched from the network, and nobody's list of trusted signers is asked.
    """
    mime = mime or _sniffed(path)
    try:
        with path.open("rb") as file, Reader(mime, file, context=Context(Settings.from_dict(_SETTINGS))) as reader:
            return _described(json.loads(reader.json()))
    except (C2paError.ManifestNotFound, C2paError.NotSupported):
        return NO_MANIFEST
    except C2paError as error:
        if not _has_trace(path):
            return NO_MANIFEST
        return Manifest("differs", False, "", "", "", "", "", {}, (f"unreadable: {error}",))


def _described(store: Mapping[str, Any]) -> Manifest:
    """The content of a manifest store, as the library reports it in JSON."""
    label = store.get("active_manifest", "")
    active = store["manifests"].get(label, {})
    statements = [_statement(manifest) for manifest in (active, *store["manifests"].values())]
    said = [statement for statement in statements if statement is not None]
    results = store.get("validation_results", {}).get("activeManifest", {})
    codes = [entry["code"] for entry in results.get("failure", [])]
    problems = tuple(dict.fromkeys(code for code in codes if not code.startswith(_NOT_THE_FILE)))
    signature = active.get("signature_info", {})
    return Manifest(
        state="differs" if problems else "matches",
        ours=bool(said),
        label=label,
        generator=" ".join(str(part) for part in _generator(active).values() if isinstance(part, str)),
        signer=signature.get("issuer") or signature.get("common_name") or "",
        serial=str(signature.get("cert_serial_number", "")),
        time=signature.get("time") or "",
        statement=said[0] if said else {},
        problems=problems,
    )


def _generator(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    infos = manifest.get("claim_generator_info") or [{}]
    return {name: infos[0][name] for name in ("name", "version") if name in infos[0]}


def _statement(manifest: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Our assertion in a manifest that this software made; None in any other."""
    if _generator(manifest).get("name") != GENERATOR:
        return None
    return next((each["data"] for each in manifest.get("assertions", []) if each["label"] == STATEMENT), None)


def _definition(title: str, source: Path, statement: Mapping[str, Any]) -> dict[str, Any]:
    software = {"name": GENERATOR, "version": __version__}
    edited = {
        "action": "c2pa.edited",
        "description": "a face was replaced by a trained model",
        "softwareAgent": software,
        "digitalSourceType": SOURCE_TYPE,
    }
    definition: dict[str, Any] = {
        "title": title,
        "claim_generator_info": [software],
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [edited]}},
            {"label": STATEMENT, "data": dict(statement)},
        ],
    }
    if source.suffix.lower() not in MIME_TYPES:
        # No manifest can be in it, and the library reads no such file: the parent is named, its hash is in our part.
        definition["ingredients"] = [{"title": source.name, "relationship": "parentOf"}]
    return definition


def _read_parent(source: Path, context: Context) -> bytes | None:
    """A source as manifests name it, ready to be put into several; None for kinds of files that carry no manifest."""
    mime = MIME_TYPES.get(source.suffix.lower())
    if mime is None:
        return None
    name, archive = f"xmp:iid:{uuid.uuid4()}", BytesIO()
    with Builder({}, context) as builder, source.open("rb") as file:
        builder.add_ingredient({"title": source.name, "relationship": "parentOf", "instance_id": name}, mime, file)
        builder.write_ingredient_archive(name, archive)
    return archive.getvalue()


def _signer(identity: Identity) -> Signer:
    return Signer.from_info(
        C2paSignerInfo(
            alg=identity.algorithm.encode(),
            sign_cert=identity.certificates,
            private_key=identity.key,
            ta_url=identity.time_authority.encode() or None,
        )
    )


def _has_trace(path: Path) -> bool:
    """Whether a manifest store begins somewhere in a file."""
    overlap, kept = max(map(len, _TRACES)), b""
    with path.open("rb") as file:
        while data := file.read(1 << 20):
            if any(trace in kept + data for trace in _TRACES):
                return True
            kept = data[-overlap:]
    return False


def _sniffed(path: Path) -> str:
    """The kind of a file by its first bytes, because files are renamed; else by its ending."""
    with path.open("rb") as file:
        head = file.read(12)
    if head[4:8] == b"ftyp":
        return "video/quicktime" if head[8:10] == b"qt" else "video/mp4"
    if head.startswith(b"\x89PNG"):
        return "image/png"
    if head.startswith(b"\xff\xd8"):
        return "image/jpeg"
    return _OTHER_TYPES.get(path.suffix.lower(), "application/octet-stream")


def _make_identity(home: Path) -> None:
    """Make a key and a certificate in the folder `home`; another process that is quicker wins."""
    make_folder(home.parent)
    with storage_errors(home):
        made = Path(tempfile.mkdtemp(prefix=".identity", dir=home.parent))
        try:
            key, certificates = _new_key_and_certificates(datetime.now(UTC))
            for name, data in (("key.pem", key), ("certificate.pem", certificates)):
                descriptor = os.open(made / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
            try:
                made.rename(home)
            except OSError:
                if not home.exists():
                    raise
        finally:
            shutil.rmtree(made, ignore_errors=True)
    sync_folder(home.parent)


def _new_key_and_certificates(now: datetime) -> tuple[bytes, bytes]:
    """A signing key and its chain in PEM: the signer's certificate and the root that vouches for it."""
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [
        x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "swap, an installation of its user"),
                x509.NameAttribute(NameOID.COMMON_NAME, common),
            ]
        )
        for common in ("swap root of one installation", "swap signer of one installation")
    ]
    chain: list[bytes] = []
    for number in (1, 0):
        is_root = number == 0
        usage = x509.KeyUsage(not is_root, False, False, False, False, is_root, is_root, False, False)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(names[number])
            .issuer_name(names[0])
            .public_key(keys[number].public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=365 * _YEARS))
            .add_extension(x509.BasicConstraints(ca=is_root, path_length=0 if is_root else None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(keys[number].public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(keys[0].public_key()), critical=False)
        )
        if not is_root:
            email = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
            certificate = certificate.add_extension(email, critical=False)
        chain.append(certificate.sign(keys[0], hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    private = keys[1].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private, b"".join(chain)
