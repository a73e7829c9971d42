/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * NBD servers on a unix socket in a temporary folder, and copies between them and files.
 */
#pragma once

#include "copy.h"
#include "nbd-address.h"
#include "process.h"

#define KIB UINT64_C (1024)
#define MIB (1024 * KIB)
#define SOON_US G_TIME_SPAN_SECOND

typedef struct {
  char *folder, *socket_path;
  BkProcess *process;
  BkNbdAddress address; /* of the default export */
} Server;

/* Starts @program (nbdkit or qemu-nbd) with these arguments, NULL-terminated, and those that make it listen. */
Server *server_start (const char *program, ...) G_GNUC_NULL_TERMINATED;
void server_free (Server *server);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Server, server_free)

/* A raw file of @size bytes: a third random, a third zero bytes, a third hole, in pieces of 64 KiB and more. (transfer full) */
char *make_raw (const char *folder, const char *name, uint64_t size);
void assert_same (const char *a, const char *a_format, const char *b, const char *b_format);

/* Copies, and frees both. */
bool carry (BkReader *reader, BkSink *sink, GCancellable *cancellable, BkCopyCounters *counters, GError **error);
