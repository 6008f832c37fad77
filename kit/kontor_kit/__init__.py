"""The small library that every Kontor service stands on. It knows no noun of CRM."""
