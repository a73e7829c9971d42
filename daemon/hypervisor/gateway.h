/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What a third party meets instead of QEMU: a process of ours (qemu-storage-daemon, one for each run) that reads the
 * run's exports and offers them again, with the same contexts, on the address that was asked for.
 *
 * Why: a reader who asks and does not take the replies makes whatever drains in the server wait for him, without end.
 * In QEMU that is the guest: its reset, a snapshot, the next backup. QEMU cannot cut such a reader off (not over a unix
 * socket: seen), and we do not hold his socket. The gateway always takes its replies; it may wait for third parties as
 * long as it likes, and can be killed at any time. Besides, TLS and TCP need not be QEMU's, each run has its own
 * address, and disks in iothreads can be had by NBD.
 *
 * 1. It outlives the daemon: storage-daemon.h.
 * 2. It keeps nothing: bk_gateway_ensure() starts it again with what is in the run.
 * 3. It goes before the exports that it reads.
 *
 * Worker threads.
 */
#pragma once

#include "run.h"

/* What it reads of @disk. NULL members: there is none. */
typedef struct {
  char *export; /* on run->nbd_server */
  char *file;   /* else */
  char *map;    /* qcow2 image that has the bitmap PREFIX-inc */
} BkGatewaySource;
void bk_gateway_source_clear (BkGatewaySource *source);
BkGatewaySource bk_gateway_source (const BkRun *run, const BkRunDisk *disk);

/* "<export_folder>/PREFIX-m0.qcow2"; (transfer full) */
char *bk_gateway_map_path (const BkRun *run, const BkRunDisk *disk);

/* Its arguments for @run, without the program; it listens on BK_STORAGE_DAEMON_FD. Pure. (transfer full) */
GStrv bk_gateway_arguments (const BkRun *run);

/* Starts it unless it runs, and fills in nbd_address and nbd_tls. INVALID: tls or nbd_listen is no good. CONFLICT: the
 * port is in use. */
gboolean bk_gateway_ensure (BkRun *run, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Ends it and cuts off all who read from it. Nothing when there is none. */
void bk_gateway_stop (const BkRun *run);
