-- Checks JSON against the fields of its message, while reading it once, and tells which field is at fault.

local BOUNDS = { int32 = { -2147483648, 2147483647 }, uint32 = { 0, 4294967295 } }

local function check_int32(kind, number)
  local value, bounds = tonumber(number), BOUNDS[kind]
  if value ~= floor(value) then fail("WRONG_TYPE", "must be a whole number") end
  if value < bounds[1] or value > bounds[2] then
    fail("OUT_OF_RANGE", ("must be between %d and %d"):format(bounds[1], bounds[2]))
  end
end

local LARGEST = { [""] = "9223372036854775807", ["-"] = "9223372036854775808" }

local function check_int64(kind, number)
  local sign, digits = match(number, "^(%-?)0*(%d+)$")
  if not digits then fail("WRONG_TYPE", "must be a whole number") end
  local largest = LARGEST[sign]
  if kind == "uint64" then largest = sign == "" and "18446744073709551615" or "0" end
  if #digits > #largest or #digits == #largest and digits > largest then
    fail("OUT_OF_RANGE", "does not fit into 64 bits")
  end
end

local function check_finite(number)
  local value = tonumber(number)
  if value == huge or value == -huge then fail("OUT_OF_RANGE", "is too large") end
end

local DAYS = { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 }

local function is_timestamp(s)
  local year, month, day, hour, minute, second, rest = match(s, "^(%d%d%d%d)%-(%d%d)%-(%d%d)T(%d%d):(%d%d):(%d%d)(.+)$")
  if not year then return false end
  year, month, day = tonumber(year), tonumber(month), tonumber(day)
  local is_leap = year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0)
  if year < 1 or month < 1 or month > 12 or day < 1 or day > DAYS[month] then return false end
  if month == 2 and day == 29 and not is_leap then return false end
  if tonumber(hour) > 23 or tonumber(minute) > 59 or tonumber(second) > 59 then return false end
  local fraction, zone = match(rest, "^%.?(%d*)(.*)$")
  if #fraction > 9 or (fraction == "") == (byte(rest) == 46) then return false end
  if zone == "Z" then return true end
  local hours, minutes = match(zone, "^[+-](%d%d):(%d%d)$")
  return hours ~= nil and tonumber(hours) < 24 and tonumber(minutes) < 60
end

-- Checks of values that are strings, in JSON and in the query alike.
local CHECK_STRING = {
  string = function() end,
  mask = function(_, s)
    if find(s, "[^%w_.,*]") then fail("WRONG_TYPE", "must be paths of fields, separated by commas") end
  end,
  bytes = function(_, s)
    if not find(s, "^[%w+/_-]*=?=?$") or #match(s, "^[^=]*") % 4 == 1 then fail("WRONG_TYPE", "must be base64") end
  end,
  enum = function(field, s)
    if not ENUMS[field.type][s] then fail("UNKNOWN_VALUE", "there is no such value") end
  end,
  timestamp = function(_, s)
    if not is_timestamp(s) then fail("WRONG_TYPE", "must be a time such as 2026-01-31T09:30:00Z") end
  end,
  duration = function(_, s)
    local seconds = match(s, "^-?(%d+)s$") or match(s, "^-?(%d+)%.%d%d?%d?%d?%d?%d?%d?%d?%d?s$")
    if not seconds or tonumber(seconds) > 315576000000 then fail("WRONG_TYPE", "must be a duration such as 90s") end
  end,
  int64 = function(field, s) check_int64(field.kind, s) end,
  uint64 = function(field, s) check_int64(field.kind, s) end,
}

local function read_text(field, c)
  if c ~= 34 then wrong("a string", c) end
  local value = read_string()
  CHECK_STRING[field.kind](field, value)
  local guard = guards[field]
  if guard and guard.level == level and guard.value ~= value then
    fail("CONTRADICTS_PATH", "must be what the path says, or be left out")
  end
end

local read_field, read_any

-- Reads the object at the scanner; `each(key, seen, of)` reads the value of a key.
local function read_object(each, of)
  level = level + 1
  if level > MAX_DEPTH then malformed("it is nested too deeply") end
  local seen = {}
  at = at + 1
  if skip_space() == 125 then
    at = at + 1
    level = level - 1
    return
  end
  while true do
    if skip_space() ~= 34 then malformed("a name in quotes is expected") end
    level = level - 1
    local key = read_string()
    level = level + 1
    if skip_space() ~= 58 then malformed("a colon is expected") end
    at = at + 1
    each(key, seen, of)
    local c = skip_space()
    at = at + 1
    if c == 125 then break end
    if c ~= 44 then
      at = at - 1
      malformed("a comma or the end of the object is expected")
    end
  end
  level = level - 1
end

local function read_array(each, of)
  level = level + 1
  if level > MAX_DEPTH then malformed("it is nested too deeply") end
  at = at + 1
  if skip_space() == 93 then
    at = at + 1
    level = level - 1
    return
  end
  local index = 0
  while true do
    trail[level] = index
    each(skip_space(), of)
    index = index + 1
    local c = skip_space()
    at = at + 1
    if c == 93 then break end
    if c ~= 44 then
      at = at - 1
      malformed("a comma or the end of the array is expected")
    end
  end
  level = level - 1
end

local function once(seen, key)
  trail[level] = key
  if seen[key] then fail("DUPLICATE_FIELD", "is given twice") end
  seen[key] = true
end

local function read_entry(key, seen, fields)
  local field = fields[key]
  if not field then
    level = level - 1
    fail("UNKNOWN_FIELD", "there is no such field", key)
  end
  once(seen, field.name)
  read_field(field)
end

local function read_message(of, c)
  if c ~= 123 then wrong("an object", c) end
  read_object(read_entry, MESSAGES[of])
end

local function read_any_entry(key, seen)
  once(seen, key)
  read_any(skip_space())
end

-- Reads any JSON, as google.protobuf.Value and Struct take it.
function read_any(c)
  if level > MAX_FREE_DEPTH then malformed("it is nested too deeply") end
  if c == 123 then
    read_object(read_any_entry)
  elseif c == 91 then read_array(read_any)
  elseif c == 34 then read_string()
  elseif c == 116 then read_literal("true")
  elseif c == 102 then read_literal("false")
  elseif c == 110 then read_literal("null")
  elseif NAMES[c] then check_finite((read_number()))
  elseif not c then malformed("it ends too early")
  else malformed("a value is expected") end
end

local function read_int32(field, c)
  if NAMES[c] ~= "a number" then wrong("a whole number", c) end
  check_int32(field.kind, (read_number()))
end

local function read_int64(field, c)
  if c == 34 then return check_int64(field.kind, read_string()) end
  if NAMES[c] ~= "a number" then wrong("a whole number", c) end
  check_int64(field.kind, (read_number()))
end

local function read_double(_, c)
  if NAMES[c] ~= "a number" then wrong("a number", c) end
  check_finite((read_number()))
end

local READ = {
  string = read_text, bytes = read_text, enum = read_text, timestamp = read_text, duration = read_text, mask = read_text,
  int32 = read_int32, uint32 = read_int32, int64 = read_int64, uint64 = read_int64, double = read_double,
  bool = function(_, c)
    if c ~= 116 and c ~= 102 then wrong("a boolean", c) end
    read_literal(c == 116 and "true" or "false")
  end,
  message = function(field, c) read_message(field.type, c) end,
  any = function(_, c) read_any(c) end,
  struct = function(_, c)
    if c ~= 123 then wrong("an object", c) end
    read_any(c)
  end,
  array = function(_, c)
    if c ~= 91 then wrong("an array", c) end
    read_any(c)
  end,
}

local function read_one(c, field)
  READ[field.kind](field, c)
end

local function read_map_entry(key, seen, field)
  once(seen, key)
  if field.key == "bool" and key ~= "true" and key ~= "false" then fail("WRONG_TYPE", "must be true or false") end
  if field.key == "int" and not find(key, "^-?%d+$") then fail("WRONG_TYPE", "must be a whole number") end
  read_one(skip_space(), field)
end

local function read_map(field, c)
  if c ~= 123 then wrong("an object", c) end
  read_object(read_map_entry, field)
end

function read_field(field)
  local c = skip_space()
  if c == 110 and field.kind ~= "any" then return read_literal("null") end
  if field.key then return read_map(field, c) end
  if not field.list then return read_one(c, field) end
  if c ~= 91 then wrong("an array", c) end
  read_array(read_one, field)
end
