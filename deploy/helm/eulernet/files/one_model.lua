-- SPDX-License-Identifier: Apache-2.0
-- HAProxy filter: a gRPC message names one model. Protobuf takes the last value of a field that is there twice, and the
-- rules of haproxy.cfg see the first one. This walks over the fields of the message while it passes, and spoils the message from
-- a second name on.

local OneModel = {id = "one model a message", flags = filter.FLT_CFG_FL_HTX}
OneModel.__index = OneModel

local MODEL_NAME = 1  -- number of the field, in each message of the service that has one
local BYTES_OF_WIRE_TYPE = {[1] = 8, [5] = 4}

function OneModel:new()
  local state = {phase = "frame", seen = 0, length = 0, value = 0, scale = 1, skip = 0, names = 0, refused = false}
  return setmetatable(state, OneModel)
end

function OneModel:start_analyze(txn, channel)
  if not channel:is_resp() then
    filter.register_data_filter(self, channel)
  end
end

-- One byte of the frame's header: the compression, then the message's length, big-endian.
function OneModel:frame(byte)
  self.seen = self.seen + 1
  if self.seen > 1 then
    self.length = self.length * 256 + byte
  end
  if self.seen == 5 then
    self.phase = "tag"
  end
  return true
end

-- One byte of a varint; the number when it is complete.
function OneModel:number(byte)
  self.value = self.value + (byte % 128) * self.scale
  self.scale = self.scale * 128
  if byte >= 128 then
    return nil
  end
  local number = self.value
  self.value, self.scale = 0, 1
  return number
end

-- One byte between the contents of fields. False: the message is refused.
function OneModel:byte(byte)
  if self.phase == "frame" then
    return self:frame(byte)
  end
  local number = self:number(byte)
  if number == nil then
    return self.scale < 2 ^ 63
  end
  if self.phase == "tag" then
    local field, kind = number // 8, number % 8
    if field == MODEL_NAME then
      self.names = self.names + 1
    end
    self.skip = BYTES_OF_WIRE_TYPE[kind] or 0
    self.phase = kind == 2 and "length" or kind == 0 and "varint" or "tag"
    return self.names <= 1 and (kind == 0 or kind == 2 or BYTES_OF_WIRE_TYPE[kind] ~= nil)
  end
  if self.phase == "length" then
    self.skip = number
  end
  self.phase = "tag"
  return true
end

-- The place of the first of these bytes that may not pass, nil: all may.
function OneModel:fault(data)
  local at, size = 1, #data
  while at <= size do
    local step = 1
    if self.skip > 0 then
      step = math.min(self.skip, size - at + 1)
      self.skip = self.skip - step
    elseif not self:byte(data:byte(at)) then
      return at
    end
    if self.phase ~= "frame" then
      self.length = self.length - step
    end
    if self.length < -1 then  -- the last byte of the frame's header was counted too
      return at
    end
    at = at + step
  end
  return nil
end

-- An error of a filter is ignored here by this version of HAProxy. Bytes of 255 are no message: the server refuses it.
function OneModel:http_payload(txn, message)
  local data = message:body()
  if data == nil or #data == 0 then
    return
  end
  local fault = self.refused and 1 or self:fault(data)
  if fault then
    self.refused = true
    message:set(data:sub(1, fault - 1) .. string.rep("\255", #data - fault + 1))
  end
end

core.register_filter("one_model", OneModel, function(model, arguments)
  return model
end)
