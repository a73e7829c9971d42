/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "index-table.h"

#define FIRST_CAPACITY 1024u

struct BkIndexTable {
  BkIndexEntry *slots; /* length 0: empty */
  uint64_t capacity;   /* a power of two */
  uint64_t size;
};

static void
allocate (BkIndexTable *table, uint64_t capacity)
{
  table->slots = g_malloc0_n (capacity, sizeof *table->slots);
  table->capacity = capacity;
  table->size = 0;
}

BkIndexTable *
bk_index_table_new (void)
{
  BkIndexTable *table = g_new0 (BkIndexTable, 1);
  allocate (table, FIRST_CAPACITY);
  return table;
}

void
bk_index_table_free (BkIndexTable *table)
{
  g_free (table->slots);
  g_free (table);
}

/* IDs are hashes: their bytes are as good as random. Copies of one chunk lie behind each other in their run of slots. */
static void
insert (BkIndexTable *table, const BkIndexEntry *entry)
{
  uint64_t i = entry->key[0] & (table->capacity - 1);
  while (table->slots[i].length)
    i = (i + 1) & (table->capacity - 1);
  table->slots[i] = *entry;
  table->size++;
}

/* Begins behind an empty slot, so that copies of one chunk keep their order also where a run of slots goes round the end. */
static void
grow (BkIndexTable *table)
{
  g_autofree BkIndexEntry *old = table->slots;
  uint64_t count = table->capacity, first = 0;
  while (old[first].length)
    first++;
  allocate (table, count * 2);
  for (uint64_t i = 1; i < count; i++) {
    const BkIndexEntry *entry = &old[(first + i) & (count - 1)];
    if (entry->length)
      insert (table, entry);
  }
}

void
bk_index_table_put (BkIndexTable *table, const BkIndexEntry *entry)
{
  if ((table->size + 1) * 4 > table->capacity * 3)
    grow (table);
  insert (table, entry);
}

BkIndexEntry *
bk_index_table_next (BkIndexTable *table, const uint64_t key[2], BkIndexEntry *previous)
{
  uint64_t i = previous ? (uint64_t)(previous - table->slots) + 1 : key[0];
  for (i &= table->capacity - 1; table->slots[i].length; i = (i + 1) & (table->capacity - 1))
    if (bk_index_key_compare (table->slots[i].key, key) == 0)
      return &table->slots[i];
  return NULL;
}

uint64_t
bk_index_table_size (BkIndexTable *table)
{
  return table->size;
}

/* g_array_sort() keeps the order of equals. */
GArray *
bk_index_table_sort (BkIndexTable *table)
{
  GArray *entries = g_array_sized_new (FALSE, FALSE, sizeof (BkIndexEntry), (unsigned)table->size);
  uint64_t first = 0;
  while (table->slots[first].length)
    first++;
  for (uint64_t i = 1; i < table->capacity; i++) {
    const BkIndexEntry *entry = &table->slots[(first + i) & (table->capacity - 1)];
    if (entry->length)
      g_array_append_vals (entries, entry, 1);
  }
  g_array_sort (entries, bk_index_entry_compare);
  return entries;
}

void
bk_index_table_clear (BkIndexTable *table)
{
  g_free (table->slots);
  allocate (table, FIRST_CAPACITY);
}

void
bk_index_table_clear_marks (BkIndexTable *table)
{
  for (uint64_t i = 0; i < table->capacity; i++)
    table->slots[i].mark = 0;
}
