"""What is personal stays at the edge: fields by their names, and e-mail addresses wherever they stand in a text.

A net with known meshes, not a promise about free text: producers should not send personal data in the first place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from pipeline.core.model.bounds import NAME_CHARS_MAX, TEXT_CHARS_MAX
from pipeline.core.model.definitions import Attribute
from pipeline.core.model.records import Scalar
from pipeline.core.rules.readers import shape
from pipeline.ingest.field_types import unfit
from pipeline.ingest.personal_texts import found_in, masked

#: Fields kept of one event; past it the rest is dropped by name.
FIELDS_MAX: Final = 200
WARNINGS_MAX: Final = 20

#: Names as they are once case, spaces, dashes and underscores are gone.
_DIRECT: Final = frozenset({
    "firstname", "lastname", "givenname", "familyname", "surname", "fullname", "middlename", "maidenname", "username",
    "nickname", "email", "emailaddress", "mail", "phone", "phonenumber", "telephone", "mobile", "mobilephone",
    "mobilenumber", "fax", "street", "streetaddress", "addressline1", "addressline2", "homeaddress", "postaladdress",
    "birthday", "birthdate", "dateofbirth", "dob", "ip", "ipaddress", "clientip", "remoteaddr", "ssn",
    "socialsecuritynumber", "nationalid", "passport", "passportnumber", "driverslicense", "taxid", "iban",
    "accountnumber", "creditcard", "creditcardnumber", "cardnumber", "cvv", "password", "contact", "contactname",
    "contactperson", "contactemail", "contactphone", "vorname", "nachname", "familienname", "geburtsdatum",
    "geburtstag",
    "strasse", "straße", "anschrift", "telefon", "telefonnummer", "handy", "handynummer", "mobilnummer", "kontonummer",
    "prenom", "prénom", "nomdefamille", "datedenaissance", "téléphone", "courriel", "apellido", "apellidos",
    "correo", "correoelectronico", "telefono", "teléfono", "fechadenacimiento", "cognome", "datadinascita", "voornaam",
    "achternaam", "geboortedatum",
})
#: Personal wherever they stand in a name.
_WITHIN: Final = ("iban", "passport", "creditcard", "cardnumber", "socialsecurity", "taxid", "steuernummer")
#: Personal as a trait; of a page or a product it is just its name.
_OF_A_PERSON: Final = _DIRECT | {
    "name", "address", "avatar", "photo", "picture", "nom", "nombre", "nome", "naam", "adresse", "direccion"}

_SIGNS: Final = re.compile(r"[\s_\-.]")


def kept(
    fields: Mapping[str, Any], where: str, warnings: list[str], *, of_a_person: bool = False,
    declared: Mapping[str, Attribute] | None = None,
) -> dict[str, Scalar]:
    """The fields that may go on; each that may not is named in `warnings` (at most a handful).

    :param declared: the attributes of the live policy by name: what does not fit one goes on, with a warning that names
        its type and what was sent by its shape.
    """
    personal = _OF_A_PERSON if of_a_person else _DIRECT
    result: dict[str, Scalar] = {}
    for name, sent in fields.items():
        attribute = (declared or {}).get(name)
        value, unlisted = sent, None
        try:
            value = listed(sent, attribute)
        except ValueError as error:
            unlisted = str(error)
        if attribute is not None and value is not None and attribute.convert(value) is None:
            _warn(warnings,
                  f"{where}.{name} is declared {attribute.type} and {shape(sent)} was sent: no rule will know it")
        why = _refused(name, None if unlisted else value, personal, len(result)) or unlisted
        if why is None:
            result[name] = value
        else:
            _warn(warnings, f"{where}.{masked(name[:NAME_CHARS_MAX])} was dropped: {why}")
    return result


def _warn(warnings: list[str], text: str) -> None:
    if len(warnings) < WARNINGS_MAX:
        warnings.append(text)


def listed(value: Any, attribute: Attribute | None) -> Any:
    """A list of texts for an attribute that is declared as one: as it travels, with commas between. Anything but a list
    as it is. Raises ValueError for a list that cannot be kept."""
    if not isinstance(value, list):
        return value
    if attribute is None or attribute.type != "list(string)":
        raise ValueError("a list is kept where the live policy declares a list(string), and nowhere else")
    if not all(isinstance(one, str) and "," not in one and one.strip() for one in value):
        raise ValueError("a list(string) takes texts that are not empty and have no commas")
    text = ", ".join(value)
    if len(text) > TEXT_CHARS_MAX:
        raise ValueError(f"the texts of a list(string) have at most {TEXT_CHARS_MAX} characters in all, counting two "
                         "between one and the next")
    return text


def _refused(name: str, value: Any, personal: frozenset[str], so_far: int) -> str | None:
    if not 0 < len(name) <= NAME_CHARS_MAX:
        return f"a name has 1 to {NAME_CHARS_MAX} characters"
    squeezed = _SIGNS.sub("", name).lower()
    if squeezed in personal or any(stem in squeezed for stem in _WITHIN):
        return "personal data stays at the edge"
    if inside := found_in(name):
        return f"its name holds {inside}: personal data stays at the edge"
    why = unfit(value)
    if why is not None:
        return why
    if isinstance(value, str) and (inside := found_in(value)):
        return f"it holds {inside}; send identifiers as identifiers"
    if so_far >= FIELDS_MAX:
        return f"at most {FIELDS_MAX} fields are kept"
    return None
