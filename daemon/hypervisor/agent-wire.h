/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A guest agent's bytes to JSON objects and back, without a socket. One line is one reply. What comes first may be of
 * others: half a reply to a client that left, answers to what it asked last, complaints about what it cut off. So each
 * connection begins with a guest-sync-delimited that bears a random number; everything before its reply is dropped, byte by
 * byte up to the 0xFF that the agent puts in front of it. Input may be split anywhere. Not thread-safe: one owner.
 */
#pragma once

#include "bk-json.h"

/* Longest reply that is accepted: those that we ask for have some dozen bytes, and the guest may have bad intentions. */
#define BK_AGENT_REPLY_MAX (1u << 20)

typedef struct BkAgentWire BkAgentWire;

/* @sync: the number that this connection begins with. */
BkAgentWire *bk_agent_wire_new (uint64_t sync);
void bk_agent_wire_free (BkAgentWire *wire);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkAgentWire, bk_agent_wire_free)

/* What is sent first: 0xFF, which makes the agent forget half a command of another client, and the command. (transfer full) */
GString *bk_agent_wire_greeting (const BkAgentWire *wire);
/* @command and its newline. (transfer full) */
GString *bk_agent_wire_format (json_object *command);

void bk_agent_wire_feed (BkAgentWire *wire, const void *data, size_t length);

/* Whether the reply to the greeting has come. Drops what comes before, however much that is. */
bool bk_agent_wire_is_synced (BkAgentWire *wire);

/* After that: *@reply gets (transfer full) the next reply, or NULL when more bytes are needed (TRUE then). UNREACHABLE for a
 * line that is no JSON object or is too long. */
gboolean bk_agent_wire_next (BkAgentWire *wire, json_object **reply, GError **error) G_GNUC_WARN_UNUSED_RESULT;
