-- Runs last on the way back: gives an answer the HTTP status that its service asked for, and says in the IETF's
-- words (draft-ietf-httpapi-ratelimit-headers) what the local rate limit filter said in its own.

-- What gRPC says of an answer means nothing to a caller of REST.
local GRPC = { "grpc-status", "grpc-message", "grpc-accept-encoding", "grpc-encoding", "grpc-status-details-bin" }

local function set_status(headers)
  -- A gRPC answer is always 200: its status is in grpc-status, that of a page stays in our own header.
  if (headers:get("content-type") or ""):find("^application/grpc") then return end
  for _, name in ipairs(GRPC) do headers:remove(name) end
  local status = headers:get("x-kontor-http-status")
  headers:remove("x-kontor-http-status")
  if status and status:find("^[2-5]%d%d$") then headers:replace(":status", status) end
end

local function set_rate_limit(headers)
  local limit = headers:get("x-ratelimit-limit")
  if not limit then return end
  local remaining, reset = headers:get("x-ratelimit-remaining"), headers:get("x-ratelimit-reset")
  for _, name in ipairs({ "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "x-envoy-ratelimited" }) do
    headers:remove(name)
  end
  local policy = POLICIES[limit:match("^%d+")]
  if not policy or not remaining or not reset then return end
  headers:replace("ratelimit-policy", policy.text)
  headers:replace("ratelimit", ('"%s";r=%s;t=%s'):format(policy.name, remaining, reset))
  if headers:get(":status") == "429" or headers:get("grpc-status") == "8" and remaining == "0" then
    headers:replace("retry-after", reset == "0" and "1" or reset)
  end
end

-- Envoy answers gRPC-Web in plain text by itself, of which its filter makes a status that is only near the right one.
local function complete_grpc_web(handle, headers)
  local status = headers:get("grpc-status")
  -- With success it is a text that a service hands out.
  if headers:get("content-type") ~= "text/plain" or not status or status == "0" then return headers end
  local body = handle:body()
  local message = body and body:getBytes(0, body:length()) or ""
  if body then body:setBytes("") end
  -- What was taken from the handle before is not valid after waiting for the body.
  headers = handle:headers()
  headers:replace(":status", "200")
  headers:replace("content-type", "application/grpc")
  headers:replace("grpc-message", message)
  headers:remove("content-length")
  return headers
end

-- Of what a GET is answered, HEAD gets the headers.
local function drop_body(handle)
  local told = handle:streamInfo():dynamicMetadata():get("kontor")
  if not told or not told.is_head then return end
  for chunk in handle:bodyChunks() do chunk:setBytes("") end
end

function envoy_on_response(handle)
  local headers = complete_grpc_web(handle, handle:headers())
  set_status(headers)
  set_rate_limit(headers)
  drop_body(handle)
end
