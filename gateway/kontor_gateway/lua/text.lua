-- What the request filter says when it refuses, and how it reads strings and numbers. The tables MESSAGES, ENUMS and
-- METHODS are generated in front of this file; json.lua and request.lua follow it, and all four are one program.

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
