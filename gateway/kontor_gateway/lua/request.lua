-- Checks a REST request against the fields of its method before it is transcoded, because Envoy's transcoder drops
-- unknown fields silently and names no field in its errors. Refuses unknown, repeated and wrongly typed fields and
-- parameters, malformed JSON and UTF-8, each with the path of the field. The tables MESSAGES, ENUMS and METHODS are
-- generated in front of this file.

local byte, sub, find, match, char = string.byte, string.sub, string.find, string.match, string.char
local concat, floor, huge = table.concat, math.floor, math.huge

local MAX_DEPTH = 32
-- A level of a google.protobuf.Struct is three levels of protobuf, and parsers take 100 in all.
local MAX_FREE_DEPTH = 24

-- Where the scanner is. A scan never yields, so that one state serves all requests of a worker.
local text, at
local trail, level = {}, 0
-- The fields that the path has filled: field -> level in the body, value.
local guards = {}

-- Problems ------------------------------------------------------------------------------------------------------

local function path_of(leaf)
  local parts = {}
  for i = 1, level do
    local part = trail[i]
    if type(part) == "number" then
      parts[#parts + 1] = "[" .. part .. "]"
    else
      parts[#parts + 1] = (#parts > 0 and "." or "") .. part
    end
  end
  if leaf then parts[#parts + 1] = (#parts > 0 and "." or "") .. leaf end
  return sub(concat(parts), 1, 300)
end

local function refuse(reason, description, field, status)
  error({ reason = reason, description = description, field = field, status = status or "400" }, 0)
end

local function fail(reason, description, leaf)
  refuse(reason, description, path_of(leaf))
end

local function malformed(what)
  refuse("MALFORMED_JSON", "malformed JSON at byte " .. (at - 1) .. ": " .. what)
end

local NAMES = { [123] = "an object", [91] = "an array", [34] = "a string", [116] = "a boolean", [102] = "a boolean",
  [110] = "null", [45] = "a number" }
for digit = 48, 57 do NAMES[digit] = "a number" end

local function wrong(expected, c)
  if not c then malformed("it ends too early") end
  if not NAMES[c] then malformed("a value is expected") end
  fail("WRONG_TYPE", "must be " .. expected .. ", not " .. NAMES[c])
end

local INTERNAL = { status = "500", code = 13, reason = "INTERNAL", description = "Something went wrong." }
local QUOTED = { ['"'] = '\\"', ["\\"] = "\\\\" }

local function quote(s)
  return '"' .. s:gsub('[%c"\\]', function(c) return QUOTED[c] or ("\\u%04x"):format(byte(c)) end) .. '"'
end

local function status_json(problem)
  local message, violation = problem.description, ""
  if problem.field then
    message = problem.field .. ": " .. message
    violation = ',{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":'
      .. quote(problem.field) .. ',"description":' .. quote(problem.description) .. "}]}"
  end
  return '{"code":' .. (problem.code or 3) .. ',"message":' .. quote(message) .. ',"details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"'
    .. problem.reason .. '","domain":"gateway.kontor"}' .. violation .. "]}"
end

-- Text ----------------------------------------------------------------------------------------------------------

-- The position after the UTF-8 sequence that starts with byte c (128 or above) at i; nil where it is none.
local function after_utf8(s, i, c)
  local second = byte(s, i + 1) or 0
  local low, high, count = 0x80, 0xBF, 1
  if c >= 0xC2 and c <= 0xDF then count = 1
  elseif c == 0xE0 then low, count = 0xA0, 2
  elseif c == 0xED then high, count = 0x9F, 2
  elseif c > 0xE0 and c <= 0xEF then count = 2
  elseif c == 0xF0 then low, count = 0x90, 3
  elseif c == 0xF4 then high, count = 0x8F, 3
  elseif c > 0xF0 and c < 0xF4 then count = 3
  else return nil end
  if second < low or second > high then return nil end
  for k = 2, count do
    local next_byte = byte(s, i + k) or 0
    if next_byte < 0x80 or next_byte > 0xBF then return nil end
  end
  return i + count + 1
end

local function is_utf8(s)
  local i = 1
  while true do
    local c = byte(s, i)
    if not c then return true end
    if c < 128 then i = i + 1 else i = after_utf8(s, i, c) end
    if not i then return false end
  end
end

local function utf8_char(n)
  if n < 0x80 then return char(n) end
  if n < 0x800 then return char(0xC0 + floor(n / 64), 0x80 + n % 64) end
  if n < 0x10000 then return char(0xE0 + floor(n / 4096), 0x80 + floor(n / 64) % 64, 0x80 + n % 64) end
  return char(0xF0 + floor(n / 262144), 0x80 + floor(n / 4096) % 64, 0x80 + floor(n / 64) % 64, 0x80 + n % 64)
end

local ESCAPES = { ['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t" }

-- The character that the escape at i (a backslash) stands for, and the position after it.
local function read_escape(i)
  local letter = sub(text, i + 1, i + 1)
  if ESCAPES[letter] then return ESCAPES[letter], i + 2 end
  local digits = letter == "u" and match(text, "^%x%x%x%x", i + 2)
  if not digits then malformed("an escape in a string is not valid") end
  local n = tonumber(digits, 16)
  if n >= 0xDC00 and n <= 0xDFFF then malformed("a surrogate stands alone") end
  if n < 0xD800 or n > 0xDBFF then return utf8_char(n), i + 6 end
  local low = tonumber(match(text, "^\\u([dD][c-fC-F]%x%x)", i + 6) or "", 16)
  if not low then malformed("a surrogate stands alone") end
  return utf8_char(0x10000 + (n - 0xD800) * 1024 + low - 0xDC00), i + 12
end

-- Reads the string at the scanner and returns it decoded.
local function read_string()
  local from, i = at + 1, at + 1
  local parts
  while true do
    local c = byte(text, i)
    if c == 34 then break end
    if not c then malformed("a string does not end") end
    if c == 92 then
      at = i
      parts = parts or {}
      parts[#parts + 1] = sub(text, from, i - 1)
      parts[#parts + 1], i = read_escape(i)
      from = i
    elseif c < 32 then
      at = i
      malformed("a control character in a string")
    elseif c < 128 then
      i = i + 1
    else
      local after = after_utf8(text, i, c)
      if not after then fail("INVALID_UTF8", "is not valid UTF-8") end
      i = after
    end
  end
  at = i + 1
  if not parts then return sub(text, from, i - 1) end
  parts[#parts + 1] = sub(text, from, i - 1)
  return concat(parts)
end

local function skip_space()
  local c = byte(text, at)
  while c == 32 or c == 10 or c == 13 or c == 9 do
    at = at + 1
    c = byte(text, at)
  end
  return c
end

local function read_literal(word)
  if sub(text, at, at + #word - 1) ~= word then malformed("a value is expected") end
  at = at + #word
end

local function digits_from(i)
  local c = byte(text, i)
  if not c or c < 48 or c > 57 then
    at = i
    malformed("a digit is expected")
  end
  repeat
    i = i + 1
    c = byte(text, i)
  until not c or c < 48 or c > 57
  return i, c
end

-- Reads the number at the scanner; returns its text, which has no fraction and no exponent where `is_whole`.
local function read_number()
  local i, is_whole = at, true
  local c = byte(text, i)
  if c == 45 then
    i = i + 1
    c = byte(text, i)
  end
  if c == 48 then
    i = i + 1
    c = byte(text, i)
  else
    i, c = digits_from(i)
  end
  if c == 46 then
    is_whole = false
    i, c = digits_from(i + 1)
  end
  if c == 101 or c == 69 then
    is_whole = false
    c = byte(text, i + 1)
    i, c = digits_from((c == 43 or c == 45) and i + 2 or i + 1)
  end
  local number = sub(text, at, i - 1)
  at = i
  return number, is_whole
end

-- Values --------------------------------------------------------------------------------------------------------

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

-- The parts of a request ----------------------------------------------------------------------------------------

local function check_body(method, body)
  text, at, level = body, 1, 0
  if method.body == "*" then
    read_message(method.request, skip_space())
  else
    local field = MESSAGES[method.request][method.body]
    trail[1], level = field.name, 1
    read_field(field)
  end
  if skip_space() then malformed("something follows the value") end
end

-- Decodes a part of a URL.
local function decode(part, what)
  if not find(part, "[%%\128-\255]") then return part end
  if find(part:gsub("%%%x%x", ""), "%%") then
    refuse("MALFORMED_URL", what .. " of the URL has a malformed percent escape")
  end
  local decoded = part:gsub("%%(%x%x)", function(digits) return char(tonumber(digits, 16)) end)
  if not is_utf8(decoded) then refuse("INVALID_UTF8", what .. " of the URL is not valid UTF-8") end
  return decoded
end

local NUMBER = "^-?%d+$"

local function check_parameter(field, value)
  local kind = field.kind
  if CHECK_STRING[kind] then
    CHECK_STRING[kind](field, value)
  elseif kind == "bool" then
    if value ~= "true" and value ~= "false" then fail("WRONG_TYPE", "must be true or false") end
  elseif kind == "double" then
    if not find(value, "^-?%d+%.?%d*[eE]?[+-]?%d*$") or not tonumber(value) then fail("WRONG_TYPE", "must be a number") end
    check_finite(value)
  else
    if not find(value, NUMBER) then fail("WRONG_TYPE", "must be a whole number") end
    check_int32(kind, value)
  end
end

-- The field that a parameter fills, and its path; nil where no parameter can fill it.
local function find_parameter(method, name)
  if method.body == "*" then return nil end
  local fields, path, field = MESSAGES[method.request], {}, nil
  for part in (name .. "."):gmatch("(.-)%.") do
    field = fields and fields[part]
    if not field or #path == 0 and field.name == method.body then return nil end
    path[#path + 1] = field.name
    fields = field.kind == "message" and not field.list and not field.key and MESSAGES[field.type] or nil
  end
  local kind = field.kind
  if field.key or kind == "message" or kind == "any" or kind == "struct" or kind == "array" then return nil end
  path = concat(path, ".")
  if method.bound[path] then return nil end
  return field, path
end

local function check_query(method, query)
  local seen = {}
  for pair in query:gmatch("[^&]+") do
    local name, value = match(pair, "^([^=]*)=?(.*)$")
    name = decode(name:gsub("+", " "), "the query")
    value = decode(value:gsub("+", " "), "the query")
    local field, path = find_parameter(method, name)
    if not field then refuse("UNKNOWN_PARAMETER", "there is no such parameter", sub(name, 1, 300)) end
    trail[1], level = path, 1
    if seen[path] and not field.list then fail("DUPLICATE_PARAMETER", "is given twice") end
    seen[path] = true
    check_parameter(field, value)
  end
end

local function check_url(method, url)
  local path, query = match(url, "^([^?]*)%??(.*)$")
  path = decode(path, "the path")
  guards = {}
  if method.guarded then
    local values = { match(path, method.pattern) }
    for i, guarded in ipairs(method.guarded) do
      guards[MESSAGES[guarded.message][guarded.field]] = { level = guarded.level, value = values[i] }
    end
  end
  if query ~= "" then check_query(method, query) end
end

local function check_content(content_type, encoding)
  if encoding and encoding ~= "identity" then
    refuse("UNSUPPORTED_ENCODING", "a body must not be compressed", nil, "415")
  end
  local kind, rest = match((content_type or ""):lower(), "^%s*([^;%s]*)%s*;?(.*)$")
  local charset = match(rest, "charset%s*=%s*\"?([^;%s\"]+)")
  if kind ~= "application/json" or charset and charset ~= "utf-8" then
    refuse("UNSUPPORTED_CONTENT_TYPE", "the content type must be application/json", nil, "415")
  end
end

-- The headers of a REST request that services are told of. What HTTP allows in others, gRPC may not.
local KEPT = { ["authorization"] = true, ["content-length"] = true, ["content-type"] = true, ["idempotency-key"] = true,
  ["if-match"] = true, ["transfer-encoding"] = true, ["traceparent"] = true, ["tracestate"] = true, ["user-agent"] = true,
  ["x-forwarded-for"] = true, ["x-forwarded-proto"] = true, ["x-request-id"] = true }
-- Those that decide what a call does: they are refused, not dropped, where they cannot be passed on.
local MEANT = { ["idempotency-key"] = "Idempotency-Key", ["if-match"] = "If-Match" }

local function check_headers(headers)
  -- The headers can be changed only after the loop, and the loop must come to its end.
  local dropped, wrong_header = {}, nil
  for name, value in pairs(headers) do
    local is_passable = not find(value, "[^\32-\126]")
    if MEANT[name] and (not is_passable or #value == 0 or #value > 128) then wrong_header = MEANT[name] end
    local is_kept = KEPT[name] or byte(name) == 58 or sub(name, 1, 8) == "x-envoy-"
    if not is_kept or not is_passable and byte(name) ~= 58 then dropped[#dropped + 1] = name end
  end
  if wrong_header then refuse("INVALID_HEADER", "must be 1 to 128 printable ASCII characters", wrong_header) end
  for _, name in ipairs(dropped) do headers:remove(name) end
end

-- Begins a trace where the caller began none.
local function set_trace(headers)
  if headers:get("traceparent") then return end
  local id = (headers:get("x-request-id") or ""):gsub("-", "")
  if #id == 32 then headers:add("traceparent", "00-" .. id .. "-" .. sub(id, 17) .. "-01") end
end

-- Lets Envoy repeat what does no harm.
local function set_retries(headers)
  if not headers:get("idempotency-key") then return end
  headers:replace("x-envoy-retry-on", "reset")
  headers:replace("x-envoy-retry-grpc-on", "unavailable")
end

local function check_request(handle)
  local headers = handle:headers()
  set_trace(headers)
  set_retries(headers)
  local method = METHODS[handle:metadata():get("method")]
  if not method then return end
  local path, content_type, encoding = headers:get(":path"), headers:get("content-type"), headers:get("content-encoding")
  check_headers(headers)
  -- Waits for the body; what was taken from the handle before is not valid after.
  local buffer = handle:body()
  check_url(method, path)
  if method.raw or not buffer or buffer:length() == 0 then return end
  if not method.body then refuse("UNEXPECTED_BODY", "this method takes no body") end
  check_content(content_type, encoding)
  check_body(method, buffer:getBytes(0, buffer:length()))
end

function envoy_on_request(handle)
  local ok, problem = pcall(check_request, handle)
  text = nil
  if ok then return end
  if type(problem) ~= "table" then
    -- A mistake in this file. Envoy would let the request pass unchecked.
    handle:logErr(tostring(problem))
    problem = INTERNAL
  end
  handle:streamInfo():dynamicMetadata():set("kontor", "is_answered", true)
  handle:respond({ [":status"] = problem.status, ["content-type"] = "application/json" }, status_json(problem))
end
