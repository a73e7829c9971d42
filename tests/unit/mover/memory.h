/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A reader and a sink in memory, which keep a record of what is done to them, and fail, wait and hang as told.
 */
#pragma once

#include "reader.h"
#include "sink.h"

#define UNIT 512 /* extents are made of these; the last one may be shorter */

typedef struct {
  BkReader reader;
  uint8_t *content;
  uint8_t *kinds;  /* a BkExtentKind for each unit */
  uint8_t *was_read; /* for each byte */
  size_t largest;  /* read */
  GMutex mutex;
  GCond cond;
  GQueue flying[16]; /* of BkRequest, by worker */
  unsigned reads, walked;
  unsigned fail_at;    /* the n-th read fails; 0 = none */
  unsigned hang_at;    /* the n-th read waits until it is interrupted */
  unsigned delay_us;   /* of each read */
  unsigned walk_fails; /* after so many extents; 0 = never */
  unsigned most_flying, in_flight;
  bool interrupted;
  bool lost; /* wait() gives nothing back */
} MemoryReader;

typedef struct {
  BkSink sink;
  uint8_t *content;
  uint8_t *touched; /* for each byte: how often */
  GMutex mutex;
  GCond cond;
  unsigned writes, zeroes, finished;
  unsigned fail_at, hang_at, delay_us;
  unsigned at_once, most_at_once;
  bool interrupted;
} MemorySink;

/* All data, random. @async: with start() and wait(). */
MemoryReader *memory_reader_new (uint64_t size, bool async);
/* From the unit @first on, @n units; zeroes the content for BK_EXTENT_ZERO. */
void memory_reader_set_kind (MemoryReader *reader, uint64_t first, uint64_t n, BkExtentKind kind);
MemorySink *memory_sink_new (uint64_t size, uint32_t block);
