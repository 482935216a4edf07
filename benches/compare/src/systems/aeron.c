// Aeron's C client and driver behind a few functions. Compiled with Aeron's own sources, and loaded, by aeron.rs.
// Those that can fail return -1 then, and rival_why says why.
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aeronc.h"
#include "aeronmd.h"

static _Thread_local char why[256];

// Of this thread's last failure.
const char *rival_why(void) { return why; }

static int failed(const char *said) {
    snprintf(why, sizeof why, "%.*s", (int)strcspn(said, "\n"), said);
    return -1;
}

static int refused(void) { return failed(aeron_errmsg()); }

// A media driver with one thread, which removes its directory when it is stopped.

struct driver {
    aeron_driver_context_t *context;
    aeron_driver_t *driver;
};

void rival_driver_stop(struct driver *driver) {
    if (driver->driver != NULL) {
        aeron_driver_close(driver->driver);
    }
    if (driver->context != NULL) {
        aeron_driver_context_close(driver->context);
    }
    free(driver);
}

int rival_driver_start(const char *directory, int spins, struct driver **made) {
    struct driver *driver = calloc(1, sizeof *driver);
    if (driver == NULL) {
        return failed("no memory");
    }
    if (aeron_driver_context_init(&driver->context) < 0 ||
        aeron_driver_context_set_dir(driver->context, directory) < 0 ||
        aeron_driver_context_set_dir_delete_on_start(driver->context, true) < 0 ||
        aeron_driver_context_set_dir_delete_on_shutdown(driver->context, true) < 0 ||
        aeron_driver_context_set_threading_mode(driver->context, AERON_THREADING_MODE_SHARED) < 0 ||
        (spins && aeron_driver_context_set_shared_idle_strategy(driver->context, "spinning") < 0) ||
        aeron_driver_context_set_term_buffer_sparse_file(driver->context, false) < 0 ||
        aeron_driver_init(&driver->driver, driver->context) < 0 || aeron_driver_start(driver->driver, false) < 0) {
        refused();
        rival_driver_stop(driver);
        return -1;
    }
    *made = driver;
    return 0;
}

// One end: a client with one publication, or one subscription.

struct end {
    aeron_context_t *context;
    aeron_t *client;
    aeron_async_add_exclusive_publication_t *adds_publication;
    aeron_exclusive_publication_t *publication;
    aeron_buffer_claim_t claim;
    aeron_async_add_subscription_t *adds_subscription;
    aeron_subscription_t *subscription;
    aeron_fragment_assembler_t *assembler;
};

void rival_close(struct end *end) {
    if (end->publication != NULL) {
        aeron_exclusive_publication_close(end->publication, NULL, NULL);
    }
    if (end->subscription != NULL) {
        aeron_subscription_close(end->subscription, NULL, NULL);
    }
    if (end->client != NULL) {
        aeron_close(end->client);
    }
    if (end->context != NULL) {
        aeron_context_close(end->context);
    }
    if (end->assembler != NULL) {
        aeron_fragment_assembler_delete(end->assembler);
    }
    free(end);
}

// With a handler it receives. It is to be asked whether it is ready until it is.
int rival_open(const char *directory, const char *channel, int32_t stream, aeron_fragment_handler_t handler,
               void *context, struct end **made) {
    struct end *end = calloc(1, sizeof *end);
    if (end == NULL) {
        return failed("no memory");
    }
    bool fails = aeron_context_init(&end->context) < 0 || aeron_context_set_dir(end->context, directory) < 0 ||
                 aeron_context_set_pre_touch_mapped_memory(end->context, true) < 0 ||
                 aeron_init(&end->client, end->context) < 0 || aeron_start(end->client) < 0;
    if (!fails && handler != NULL) {
        fails = aeron_fragment_assembler_create(&end->assembler, handler, context) < 0 ||
                aeron_async_add_subscription(&end->adds_subscription, end->client, channel, stream, NULL, NULL, NULL,
                                             NULL) < 0;
    } else if (!fails) {
        fails = aeron_async_add_exclusive_publication(&end->adds_publication, end->client, channel, stream) < 0;
    }
    if (fails) {
        refused();
        rival_close(end);
        return -1;
    }
    *made = end;
    return 0;
}

// 1: it is there, and so is its other end. 0: not yet.
int rival_is_ready(struct end *end) {
    if (end->adds_publication != NULL) {
        int done = aeron_async_add_exclusive_publication_poll(&end->publication, end->adds_publication);
        if (done != 0) {
            end->adds_publication = NULL;
        }
        return done < 0 ? refused() : 0;
    }
    if (end->adds_subscription != NULL) {
        int done = aeron_async_add_subscription_poll(&end->subscription, end->adds_subscription);
        if (done != 0) {
            end->adds_subscription = NULL;
        }
        return done < 0 ? refused() : 0;
    }
    return end->publication != NULL ? aeron_exclusive_publication_is_connected(end->publication)
                                    : aeron_subscription_is_connected(end->subscription);
}

// What a position says. 1: it was sent. 0: it was not, and is to be tried again.
static int answer(int64_t position) {
    if (position >= 0) {
        return 1;
    }
    switch (position) {
    // Nobody takes what is sent while nobody is connected: it is not lost, it was not sent.
    case AERON_PUBLICATION_NOT_CONNECTED:
    case AERON_PUBLICATION_BACK_PRESSURED:
    case AERON_PUBLICATION_ADMIN_ACTION:
        return 0;
    case AERON_PUBLICATION_CLOSED:
        return failed("the publication is closed");
    case AERON_PUBLICATION_MAX_POSITION_EXCEEDED:
        return failed("the publication is at its last position");
    default:
        return refused();
    }
}

int rival_offer(struct end *end, const uint8_t *message, size_t len) {
    return answer(aeron_exclusive_publication_offer(end->publication, message, len, NULL, NULL));
}

// Room for a message, which is sent when it is committed.
int rival_claim(struct end *end, size_t len, uint8_t **message) {
    int code = answer(aeron_exclusive_publication_try_claim(end->publication, len, &end->claim));
    if (code == 1) {
        *message = end->claim.data;
    }
    return code;
}

int rival_commit(struct end *end) {
    return aeron_buffer_claim_commit(&end->claim) < 0 ? refused() : 0;
}

// Gives up to so many fragments to the assembler, and it whole messages to the handler.
int rival_poll(struct end *end, size_t limit) {
    int count = aeron_subscription_poll(end->subscription, aeron_fragment_assembler_handler, end->assembler, limit);
    return count < 0 ? refused() : count;
}
