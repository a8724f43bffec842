"""What everything is made of: values, records, definitions, and the bounds that hold for them."""
