"""Hashes of passwords and secrets (argon2id), and keys derived from the configured one (HKDF)."""

from __future__ import annotations

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


class Hasher:
    """Makes and checks hashes. Checking takes the same time whether or not there is something to check against."""

    def __init__(self, hasher: PasswordHasher) -> None:
        self._hasher = hasher
        self._nobody = hasher.hash("nobody has this password")

    def hash(self, password: str) -> str:
        """Return the hash of a password, with its salt and parameters."""
        return self._hasher.hash(password)

    def matches(self, password: str, stored: str | None) -> bool:
        """Tell whether `stored` is a hash of `password`; None stands for somebody who has none, or does not exist."""
        try:
            self._hasher.verify(stored or self._nobody, password)
        except (VerificationError, InvalidHashError):
            return False
        return stored is not None


def password_hasher() -> Hasher:
    """Return the hasher for what people choose: 19 MiB and two passes, as OWASP recommends; about 40 ms."""
    return Hasher(PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1))


def secret_hasher() -> Hasher:
    """Return the hasher for secrets that we make: 256 random bits need no slow hash, so a program waits 2 ms."""
    return Hasher(PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1))


def derive_key(secret: str, purpose: str) -> bytes:
    """Return 32 bytes for one purpose, made of the configured key; those of different purposes tell nothing of each other."""
    return HKDF(SHA256(), length=32, salt=None, info=f"kontor-identity {purpose}".encode()).derive(secret.encode())
