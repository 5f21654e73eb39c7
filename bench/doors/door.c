// SPDX-License-Identifier: MIT OR Apache-2.0
// The C door, as a C program uses it. Speaks the bench's language: an order is ["operation",batches,count], the
// answer is the nanoseconds that one operation took, batch by batch.

#define _POSIX_C_SOURCE 200809L

#include <shm/shm.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SIZE = 64, CAPACITY = 1024 };

static shm_publisher *publisher;
static shm_subscriber *subscriber;
static unsigned char payload[SIZE];

static void check(int32_t status) {
  if (status != SHM_OK) {
    fprintf(stderr, "door.c: %s: %s\n", shm_status_string(status), shm_last_error_message());
    exit(1);
  }
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void loan(unsigned count) {
  for (unsigned i = 0; i < count; i++) {
    shm_loan *next = NULL;
    check(shm_publisher_loan(publisher, SIZE, &next));
    memcpy(shm_loan_data(next), payload, sizeof(uint64_t));
    check(shm_loan_publish(next, NULL));
  }
}

static void publish(unsigned count) {
  for (unsigned i = 0; i < count; i++) {
    check(shm_publisher_publish(publisher, payload, SIZE, NULL));
  }
}

static void receive(unsigned count) {
  uint64_t sum = 0;
  for (unsigned i = 0; i < count; i++) {
    shm_sample *sample = NULL;
    uint64_t word;
    check(shm_subscriber_try_receive(subscriber, &sample));
    memcpy(&word, shm_sample_data(sample), sizeof word);
    sum += word;
    shm_sample_release(sample);
  }
  uint64_t expected;
  memcpy(&expected, payload, sizeof expected);
  if (sum != expected * count) {
    fprintf(stderr, "door.c: received something else than was published\n");
    exit(1);
  }
}

static double timed(void (*operation)(unsigned), unsigned count) {
  double start = now();
  operation(count);
  return (now() - start) / count;
}

int main(int argc, char **argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: door TOPIC\n");
    return 2;
  }
  memset(payload, 1, sizeof payload);
  shm_publisher_options publishes;
  shm_subscriber_options subscribes;
  check(shm_publisher_options_init(&publishes));
  check(shm_subscriber_options_init(&subscribes));
  publishes.capacity = subscribes.capacity = CAPACITY;
  check(shm_publisher_create(argv[1], &publishes, &publisher));
  check(shm_subscriber_create(argv[1], &subscribes, &subscriber));
  puts("\"Ready\"");
  fflush(stdout);

  char line[128], name[16];
  unsigned batches, count;
  while (fgets(line, sizeof line, stdin)) {
    if (sscanf(line, "[\"%15[a-z]\",%u,%u]", name, &batches, &count) != 3 || count > CAPACITY) {
      fprintf(stderr, "door.c: not an order: %s", line);
      return 1;
    }
    for (unsigned batch = 0; batch < batches; batch++) {
      double produced = timed(strcmp(name, "publish") == 0 ? publish : loan, count);
      double received = timed(receive, count);
      printf("%c%.3f", batch == 0 ? '[' : ',', strcmp(name, "receive") == 0 ? received : produced);
    }
    puts("]");
    fflush(stdout);
  }
  shm_subscriber_destroy(subscriber);
  shm_publisher_destroy(publisher);
  return 0;
}
