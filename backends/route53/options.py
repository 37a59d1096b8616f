"""What an operator says about a Route 53 target in pools.yaml; apart because the documentation lists it."""

from __future__ import annotations

from pydantic import Field, SecretStr, field_validator, model_validator

from dnsworker import names
from dnsworker.backend import Options
from dnsworker.errors import InvalidName
from dnsworker.names import Name


class Route53Options(Options):
    """Options of a `route53` target."""

    #: Without a key (and a profile): what boto3 finds on the machine, an instance's or a container's role.
    access_key_id: str | None = None
    secret_access_key: SecretStr | None = None
    #: Of temporary keys.
    session_token: SecretStr | None = None
    #: A profile of the AWS configuration files instead of a key.
    profile: str | None = None
    #: Of the API; Route 53 has one for all of `aws`.
    region: str = Field(default="us-east-1", pattern=r"^[a-z0-9-]+$")
    #: Instead of Amazon's own: a VPC endpoint, another partition, a test.
    endpoint_url: str | None = None
    #: The zones are private ones; a public one of the same name is none of ours, and the other way round.
    private: bool = False
    #: The VPC that private zones belong to; needed to create them.
    vpc_id: str | None = None
    vpc_region: str | None = None
    #: Hosted zones by id, where several have one name: `{example.org.: Z0123456789ABC}`.
    zone_ids: dict[Name, str] = Field(default={})
    #: New public zones get the name servers of this reusable delegation set.
    delegation_set_id: str | None = None
    #: The apex NS are written like other RRsets. Otherwise they stay as Route 53 made them.
    manage_apex_ns: bool = False
    #: `delete_zone` also takes alias records, and those with a routing policy, which we can't have written.
    delete_foreign_records: bool = False
    #: Time for one answer; keep it below the worker's `lease_s`.
    read_timeout_s: float = Field(default=20.0, gt=0)

    @field_validator("endpoint_url")
    @classmethod
    def _is_base_url(cls, value: str | None) -> str | None:
        if value is not None and (not value.startswith(("https://", "http://")) or "@" in value):
            raise ValueError("must be https://host[:port], without a user")
        return value

    @field_validator("zone_ids")
    @classmethod
    def _names_and_ids(cls, value: dict[Name, str]) -> dict[Name, str]:
        try:
            return {names.zone_name(name): id.removeprefix("/hostedzone/") for name, id in value.items()}
        except InvalidName as exc:
            raise ValueError(exc.message) from exc

    @model_validator(mode="after")
    def _fits_together(self) -> Route53Options:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("access_key_id and secret_access_key go together")
        if self.session_token is not None and self.access_key_id is None:
            raise ValueError("session_token belongs to an access_key_id")
        if self.profile is not None and self.access_key_id is not None:
            raise ValueError("either a key or a profile")
        if self.vpc_id is not None and not self.private:
            raise ValueError("vpc_id is for private zones: say private: true")
        if self.vpc_id is not None and self.vpc_region is None:
            raise ValueError("vpc_id needs its vpc_region")
        if self.private and self.delegation_set_id is not None:
            raise ValueError("private zones have no delegation set")
        return self
