/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Disks out of QEMU's replies. Pure functions over the "return" values of queries, so that they are tested
 * with recorded replies of every way to start a disk.
 */
#pragma once

#include "disk.h"

/* QEMU 7.2 dies of query-named-block-nodes while a block-stream job is concluded and not dismissed: look at
 * query-jobs first, and do not ask while there is a job of type "stream". */
typedef struct {
  json_object *block;      /* query-block */
  json_object *nodes;      /* query-named-block-nodes, flat */
  json_object *blockstats; /* query-blockstats */
  json_object *jobs;       /* query-jobs; NULL: not asked, and a named filter of a stream is taken for the user's */
} BkBlockReplies;

/* All disks that guests see, in QEMU's order; (transfer full), BkDisk. A drive that no device uses is none.
 *
 * name: the ID given to the guest device (qdev, without /machine/peripheral/ and what follows); else the
 * drive ID (query-block's device); else the first node name that QEMU did not make up (#block123); else the
 * path of the device. Names are unique: device IDs go first, and of the others the later ones take their next
 * alias when two disks would have the same.
 * aliases: the drive ID, the node names of the disk's whole chain of filters, formats and backing files; without
 * those that QEMU made up, for they change with each start, and without our own filters.
 * root/node: node goes down from the root through filters (throttle, copy-on-read, our own
 * copy-before-write, compress ...) to the first that is none, by query-blockstats (backing of a filter) and
 * driver names from query-named-block-nodes. in_use: set when a filter in the chain has a name starting with
 * "bkd-": the part before the last dash; root is then the child below our filter, and all is as without it.
 * An external snapshot taken above our filter (blockdev-snapshot-sync) is root and node, with in_use set.
 * blocked: set when a job that is not ours has a filter above node, be it one that QEMU does not show there.
 * Without a medium root, node, format and file are "".
 * FAILED when replies do not look like QEMU's, or do not fit together because something changed between them; a
 * message names the member. iothread is left NULL. */
GPtrArray *bk_block_graph_disks (const BkBlockReplies *replies, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Brings @disk up to date by what @nodes tells of the node named @node, which shows the disk's image now: size, bitmaps,
 * and whether they can be kept. FAILED as above; NOT_FOUND when there is no such node. */
gboolean bk_block_graph_reread (json_object *nodes, const char *node, BkDisk *disk, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The files and devices that nodes of @nodes are made of, as QEMU names them; (transfer full). */
GStrv bk_block_graph_files (json_object *nodes);

/* One of our copy-before-write filters that a guest device is attached to. */
typedef struct {
  char *qdev;
  char *filter; /* its node name */
  char *child;  /* node below it: what to give the device back */
} BkInsertedFilter;
void bk_inserted_filter_free (BkInsertedFilter *filter);

/* Our filters (node name starts with @prefix) that are roots of guest devices; (transfer full). */
GPtrArray *bk_block_graph_inserted (const BkBlockReplies *replies, const char *prefix);

/* Node names that start with @prefix, with their drivers. */
typedef struct {
  char *name;
  char *driver;
  GStrv bitmaps; /* names of bitmaps on it, whatever their name */
} BkNode;
void bk_node_free (BkNode *node);
/* True when it shows the frozen content of a disk. */
bool bk_node_is_snapshot (const BkNode *node);
/* Every node of the VM whose name starts with @prefix ("" = all); (transfer full), BkNode. */
GPtrArray *bk_block_graph_nodes (json_object *nodes, const char *prefix);
