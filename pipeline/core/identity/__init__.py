"""Who is who: identifiers, links between them, profiles that become one, part again, move and are forgotten."""
