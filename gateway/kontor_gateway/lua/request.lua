-- Checks a REST request before it is transcoded, because Envoy's transcoder drops unknown fields silently and names no
-- field in its errors. Refuses unknown, repeated and wrongly typed fields and parameters, malformed JSON, URLs and
-- UTF-8, and headers that gRPC cannot carry.

local function check_body(method, body)
  text, at, level = body, 1, 0
  if method.body == "*" then
    read_message(method.request, skip_space())
  else
    local field = MESSAGES[method.request][method.body]
    trail[1], level = field.name, 1
    -- Inside of a message null stands for a field that is not set; a body has to be there.
    if skip_space() == 110 then
      read_literal("null")
      wrong("an object", 110)
    end
    read_field(field)
  end
  if skip_space() then malformed("something follows the value") end
end

-- Decodes a part of a URL; `field` is what it fills, where that is known.
local function decode(part, what, field)
  if not find(part, "[%%\128-\255]") then return part end
  if find(part:gsub("%%%x%x", ""), "%%") then
    refuse("MALFORMED_URL", what .. " of the URL has a malformed percent escape", field)
  end
  local decoded = part:gsub("%%(%x%x)", function(digits) return char(tonumber(digits, 16)) end)
  if not is_utf8(decoded) then refuse("INVALID_UTF8", what .. " of the URL is not valid UTF-8", field) end
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
    local field, path = find_parameter(method, name)
    if not field then refuse("UNKNOWN_PARAMETER", "there is no such parameter", sub(name, 1, 300)) end
    trail[1], level = path, 1
    if seen[path] and not field.list then fail("DUPLICATE_PARAMETER", "is given twice") end
    seen[path] = true
    check_parameter(field, decode(value:gsub("+", " "), "the query", path))
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
  ["if-match"] = true, ["origin"] = true, ["transfer-encoding"] = true,
  ["traceparent"] = true, ["tracestate"] = true, ["user-agent"] = true,
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
  headers:replace("x-envoy-retry-grpc-on", "cancelled,unavailable")
end

-- Asks as GET for what HEAD asks for. Not before here: the route, and with it who may come in, is settled.
local function set_verb(handle, headers)
  if headers:get(":method") ~= "HEAD" then return end
  headers:replace(":method", "GET")
  handle:streamInfo():dynamicMetadata():set("kontor", "is_head", true)
end

local function check_request(handle)
  local headers = handle:headers()
  set_trace(headers)
  set_retries(headers)
  local method = METHODS[handle:metadata():get("method")]
  if not method then return end
  local path, content_type, encoding = headers:get(":path"), headers:get("content-type"), headers:get("content-encoding")
  check_headers(headers)
  set_verb(handle, headers)
  -- Waits for the body; what was taken from the handle before is not valid after.
  local buffer = handle:body()
  check_url(method, path)
  if method.raw then return end
  if not buffer or buffer:length() == 0 then
    if method.needs_body then refuse("MISSING_FIELD", "is required", method.body) end
    return
  end
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
