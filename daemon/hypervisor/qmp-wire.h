/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * QMP's bytes to JSON objects and back, without a socket. QEMU ends each message with a newline, and a
 * message can be far over 1 MiB; input may be split anywhere. Not thread-safe: one owner.
 */
#pragma once

#include "bk-json.h"

/* Longest line we accept: query-qmp-schema is 205 KiB, query-named-block-nodes of a VM with hundreds of
 * nodes some MiB. Beyond it the peer is no QMP server. */
#define BK_QMP_LINE_MAX (64u << 20)

typedef struct BkQmpWire BkQmpWire;

/* @line_max: bytes; 0 = BK_QMP_LINE_MAX. */
BkQmpWire *bk_qmp_wire_new (size_t line_max);
void bk_qmp_wire_free (BkQmpWire *wire);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkQmpWire, bk_qmp_wire_free)

/* Takes in @length bytes. */
void bk_qmp_wire_feed (BkQmpWire *wire, const void *data, size_t length);

/* *@message gets (transfer full) the next whole message, or NULL when more bytes are needed (TRUE then).
 * FALSE with BK_ERROR_UNREACHABLE ("not a QMP monitor: ...") for a line that is no JSON object or is too
 * long; the wire stays failed from then on. Empty lines are passed over. */
gboolean bk_qmp_wire_next (BkQmpWire *wire, json_object **message, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Appends {"execute"|"exec-oob": NAME, "arguments": ARGS, "id": ID} and a newline to @out.
 * @arguments: (transfer none) or NULL. */
void bk_qmp_wire_format (GString *out, const char *name, json_object *arguments, uint64_t id, gboolean oob);
