/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * An NBD export as a sink: several connections where the server allows that for writers, write-zeroes where it has that
 * (written zeroes else), a flush at finish. Its old content is overwritten where something is written or zeroed.
 *
 * Errors as in nbd-reader.h; NO_SPACE when the server says so; DENIED when the export is read-only.
 */
#pragma once

#include "nbd-address.h"
#include "sink.h"

typedef struct {
  bool is_zero; /* the caller knows that it reads as zeroes all over: wants_zeroes is false then */
} BkNbdSinkOptions;

/* Connects, within 10 s, so that the size is known. @options: NULL = none. Worker threads. (transfer full) */
BkSink *bk_nbd_sink_new (const BkNbdAddress *address, const BkNbdSinkOptions *options, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
